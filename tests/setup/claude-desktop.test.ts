// Cloche's entry in Claude Desktop's settings: everything else in the file stays, whatever the file looks like.
import {
  existsSync,
  mkdirSync,
  mkdtempSync,
  readdirSync,
  readFileSync,
  rmSync,
  statSync,
  writeFileSync,
} from "node:fs";
import { tmpdir } from "node:os";
import { join } from "node:path";
import { afterEach, beforeEach, expect, test } from "vitest";
import {
  addToDesktop,
  desktopConfigPath,
  removeFromDesktop,
} from "../../claude-integration/claude-desktop.ts";

const main = "/opt/clone/dist/main.js";
const entry = { command: "/opt/node", args: [main, "serve", "--project", "/home/ada/Cloche"] };
const settings = {
  theme: "dark",
  mcpServers: { files: { command: "npx", args: ["files"] } },
  nested: { a: [1, null] },
};
let folder: string;
let path: string;

beforeEach(() => {
  folder = mkdtempSync(join(tmpdir(), "cloche-desktop-"));
  path = join(folder, "claude_desktop_config.json");
});
afterEach(() => rmSync(folder, { recursive: true }));

const read = () => JSON.parse(readFileSync(path, "utf8"));

test("adding the entry leaves every other setting and server as it was", () => {
  writeFileSync(path, JSON.stringify(settings));
  addToDesktop(path, entry);
  expect(read()).toEqual({ ...settings, mcpServers: { ...settings.mcpServers, cloche: entry } });
});

test("the settings as they were are kept beside the file, byte for byte", () => {
  const before = `\uFEFF${JSON.stringify(settings, null, "\t")}\r\n`;
  writeFileSync(path, before);
  const change = addToDesktop(path, entry);
  expect(change.changed && change.backup && readFileSync(change.backup, "utf8")).toBe(before);
});

test("adding the same entry again writes nothing", () => {
  writeFileSync(path, JSON.stringify(settings));
  addToDesktop(path, entry);
  const files = readdirSync(folder);
  expect(addToDesktop(path, entry)).toEqual({ changed: false });
  expect(readdirSync(folder)).toEqual(files);
});

test("a missing or empty file becomes one with the entry alone", () => {
  expect(addToDesktop(path, entry)).toEqual({ changed: true });
  expect(read()).toEqual({ mcpServers: { cloche: entry } });
  writeFileSync(path, "");
  addToDesktop(path, entry);
  expect(read()).toEqual({ mcpServers: { cloche: entry } });
});

test("the file keeps its permissions", () => {
  writeFileSync(path, "{}", { mode: 0o640 });
  addToDesktop(path, entry);
  expect(statSync(path).mode & 0o777).toBe(0o640);
});

test.each([
  ["JSON that is cut off", '{"mcpServers": {'],
  ["JSON with comments", '{ /* mine */ "theme": "dark" }'],
  ["a list", "[]"],
  ["servers that are no object", '{"mcpServers": []}'],
])("%s is refused with a sentence and left untouched", (_, text) => {
  writeFileSync(path, text);
  expect(() => addToDesktop(path, entry)).toThrow(/left as they are/);
  expect(() => removeFromDesktop(path, main)).toThrow(/left as they are/);
  expect(readFileSync(path, "utf8")).toBe(text);
  expect(readdirSync(folder)).toEqual(["claude_desktop_config.json"]);
});

test("removing the entry restores the settings from before it was added", () => {
  writeFileSync(path, JSON.stringify(settings));
  addToDesktop(path, entry);
  removeFromDesktop(path, main);
  expect(read()).toEqual(settings);
});

test("removing the only server leaves no empty list of servers behind", () => {
  writeFileSync(path, '{"theme":"dark"}');
  addToDesktop(path, entry);
  removeFromDesktop(path, main);
  expect(read()).toEqual({ theme: "dark" });
});

test("another clone's entry is not removed", () => {
  addToDesktop(path, entry);
  expect(removeFromDesktop(path, "/elsewhere/dist/main.js")).toEqual({ changed: false });
  expect(read().mcpServers.cloche).toEqual(entry);
});

test("settings are only looked for where Claude Desktop's own folder exists", () => {
  expect(desktopConfigPath(folder, undefined)).toBeUndefined();
  const own = process.platform === "darwin" ? "Library/Application Support/Claude" : ".config/Claude";
  mkdirSync(join(folder, own), { recursive: true });
  expect(desktopConfigPath(folder, undefined)).toBe(join(folder, own, "claude_desktop_config.json"));
  expect(existsSync(join(folder, own, "claude_desktop_config.json"))).toBe(false);
});
