// The README is true: its examples run and answer as printed, and what it lists is what there is.
import { spawnSync } from "node:child_process";
import { readdirSync, readFileSync } from "node:fs";
import { join } from "node:path";
import { afterAll, beforeAll, describe, expect, test } from "vitest";
import { parseSettings } from "../src/config/config-file.ts";
import { showSetting } from "../src/config/project-file.ts";
import { defaultSettings, type SettingName, settingNames, settingVariables } from "../src/config/settings.ts";
import { parseSize } from "../src/config/sizes.ts";
import { tools } from "../src/mcp/server.ts";
import type { Answer } from "./e2e/answer.ts";
import { CLONE, Place } from "./e2e/place.ts";
import { eachSandbox } from "./e2e/rows.ts";
import type { Server } from "./e2e/server.ts";

const README = readFileSync(join(CLONE, "README.md"), "utf8");
/** Where the examples' project lies, as the README prints it. */
const PRINTED_PROJECT = "/home/you/tea";

interface Fence {
  /** words after the language: "cloche load" */
  info: string;
  language: string;
  text: string;
}

const fences: Fence[] = [...README.matchAll(/^```(\w+)([^\n]*)\n(.*?)^```$/gms)].map(
  ([, language = "", info = "", text = ""]) => ({ language, info: info.trim(), text: text.trimEnd() }),
);

interface Example {
  title: string;
  tool: string;
  args: Record<string, unknown>;
  /** the answer the README prints below, where it prints one */
  printed: string | undefined;
}

const examples: Example[] = fences.flatMap(({ language, info, text }, position) => {
  const [mark, tool = "exec"] = info.split(" ");
  if (mark !== "cloche" || language === "csv") return [];
  const next = fences[position + 1];
  const args = language === "python" ? { code: text } : (JSON.parse(text) as Record<string, unknown>);
  const title = `${tool} ${text.replaceAll("\n", " ").slice(0, 60)}`;
  return [{ title, tool, args, printed: next?.language === "text" ? next.text : undefined }];
});

/** The section below a heading, down to the next heading of its level or above. */
function section(heading: string): string {
  const level = /^#+/.exec(heading)?.[0].length ?? 0;
  const [, after] = README.split(`\n${heading}\n`);
  if (after === undefined) throw new Error(`the README has no heading ${heading}`);
  return after.split(new RegExp(`\n#{1,${level}} `))[0] ?? "";
}

/** Cells of a section's tables, without their heads. */
function rows(heading: string): string[][] {
  return section(heading)
    .split("\n")
    .filter((line) => line.startsWith("|"))
    .map((line) =>
      line
        .split("|")
        .slice(1, -1)
        .map((cell) => cell.trim()),
    )
    .filter(([first = ""], position) => position > 0 && !/^-+$/.test(first));
}

const quoted = (text: string) => [...text.matchAll(/`([^`]+)`/g)].map(([, code = ""]) => code);

eachSandbox("the examples", (kind) => {
  let place: Place;
  let server: Server;
  beforeAll(async () => {
    place = new Place(kind);
    for (const { language, info, text } of fences)
      if (language === "csv") place.write(info.replace("cloche ", ""), `${text}\n`);
    server = await place.start();
  });
  afterAll(async () => place?.[Symbol.asyncDispose]());

  /** As the README prints it: a place for each image, no times, another project directory. */
  const shown = ({ blocks }: Answer) =>
    blocks
      .map((block) => (block.type === "text" ? block.text : "[image]"))
      .join("\n")
      .replaceAll(place.project, PRINTED_PROJECT);
  const timeless = (text: string) => text.replace(/[\d.]+ m?s\]/g, "TIME]");

  test("there are some, for every tool", () => {
    expect(new Set(examples.map(({ tool }) => tool))).toEqual(new Set(tools.map(({ name }) => name)));
  });

  test.each(examples)("$title", async ({ tool, args, printed }) => {
    const answer = await server.call(tool, args);
    expect(answer.isError, answer.text).toBe(false);
    if (answer.status) expect(answer.status).toMatch(/^\[cell \d+: (ok|running)/);
    if (printed !== undefined) expect(timeless(shown(answer))).toBe(timeless(printed));
  });
});

describe("the settings", () => {
  const table = rows("### Settings");
  const printed = new Map(
    table.map(([key = "", value = "", variable = ""]) => [quoted(key)[0], { value, variable }]),
  );

  test("every key is listed, and no other", () => {
    expect([...printed.keys()].sort()).toEqual([...settingNames].sort());
  });

  test.each(settingNames)("%s has the variable that is printed", (name) => {
    expect(quoted(printed.get(name)?.variable ?? "")[0]).toBe(settingVariables[name]);
  });

  /** These follow the machine, which the table says in words. */
  const IN_WORDS: SettingName[] = ["memory", "cpus", "tmpfs"];

  test.each(settingNames.filter((name) => !IN_WORDS.includes(name)))(
    "%s has the default that is printed",
    (name) => {
      const value = defaultSettings({ env: {}, cwd: "/", home: "/", uid: 1, memory: 2 ** 34, cpus: 8 })[name];
      const text = printed.get(name)?.value ?? "";
      const given = quoted(text)[0] ?? text;
      if (typeof value === "number") expect(parseSize(given)).toBe(value);
      else expect(given).toBe(showSetting(name, value));
    },
  );

  test("the examples of files are valid", () => {
    const files = fences.filter(({ info }) => info === "settings");
    expect(files.length).toBeGreaterThan(0);
    for (const { text } of files) expect(() => parseSettings(Buffer.from(text), "README.md")).not.toThrow();
  });

  test("every variable that is read is listed, and no other", () => {
    const source = readdirSync(join(CLONE, "src/config"))
      .filter((file) => file.endsWith(".ts"))
      .map((file) => readFileSync(join(CLONE, "src/config", file), "utf8"))
      .join("\n");
    const read = [...source.matchAll(/\benv\.([A-Z][A-Z_]+)/g)].map(([, name]) => name as string);
    const listed = [
      ...rows("### Settings").flatMap((cells) => quoted(cells[2] ?? "")),
      ...rows("### Other variables").flatMap(([cell = ""]) => quoted(cell)),
    ];
    expect(listed.sort()).toEqual([...new Set([...read, ...Object.values(settingVariables)])].sort());
  });
});

describe("the commands", () => {
  const help = (...args: string[]) => {
    const { status, stdout } = spawnSync(process.execPath, [join(CLONE, "dist/main.js"), ...args, "--help"], {
      encoding: "utf8",
    });
    expect(status).toBe(0);
    return stdout;
  };
  const listed = new Map(
    rows("## Commands").map(([command = "", what = ""]) => [
      (quoted(command)[0] ?? "").replace("cloche ", "").replace(/ \[?[A-Z]+\]?$/, ""),
      quoted(what).flatMap((code) => /^--[\w-]+/.exec(code) ?? []),
    ]),
  );

  test("every command is listed, and no other", () => {
    const commands = [...help().matchAll(/^ {2}(\w+) \[/gm)].map(([, name]) => name as string);
    const below = [...help("sessions").matchAll(/^ {2}(\w+) \[/gm)].map(([, name]) => `sessions ${name}`);
    expect([...listed.keys()].sort()).toEqual(
      // `sessions` alone is `sessions list`.
      [...commands, ...below].filter((name) => !/(^| )help$|^sessions list$/.test(name)).sort(),
    );
  });

  test.each([...listed.keys()])("every option of %s is listed, and no other", (command) => {
    const options = [...help(...command.split(" ")).matchAll(/^ {2}(?:-\w, )?(--[\w-]+)/gm)].map(
      ([, name]) => name as string,
    );
    expect(listed.get(command)?.sort()).toEqual(options.filter((name) => name !== "--help").sort());
  });

  test("every option of setup.sh is listed, and no other", () => {
    const { stdout } = spawnSync(join(CLONE, "setup.sh"), ["--help"], { encoding: "utf8" });
    const options = [...stdout.matchAll(/^ {2}(--[\w-]+)/gm)].map(([, name]) => name as string);
    const printed = rows("## Set up").map(([cell = ""]) => quoted(cell)[0]?.split(" ")[0] ?? "");
    expect(printed.sort()).toEqual(options.sort());
  });

  test("every script that is named exists", () => {
    const { scripts } = JSON.parse(readFileSync(join(CLONE, "package.json"), "utf8"));
    const named = [...README.matchAll(/\bnpm (?:run )?([a-z][\w:]*)/g)].map(([, name]) => name as string);
    expect(Object.keys(scripts)).toEqual(expect.arrayContaining(named));
  });
});

describe("the lists", () => {
  test("every dependency has its reason, and no other is named", () => {
    const { dependencies } = JSON.parse(readFileSync(join(CLONE, "package.json"), "utf8"));
    const reasons = rows("## How it is built").map(([cell = ""]) => quoted(cell)[0]);
    expect(reasons.sort()).toEqual(Object.keys(dependencies).sort());
  });

  test("every package of the sandbox is named", () => {
    const text = section("## Set up").toLowerCase();
    const packages = readFileSync(join(CLONE, "sandbox/requirements.txt"), "utf8")
      .split("\n")
      .filter((line) => line !== "" && !line.startsWith("#"))
      .map((line) => (/^[\w-]+/.exec(line)?.[0] ?? line).replace("-framework", "").toLowerCase());
    for (const name of packages) expect(text).toContain(name);
  });

  test("every link within the clone leads somewhere", () => {
    const headings = [...README.matchAll(/^#+ (.+)$/gm)].map(
      ([, title = ""]) =>
        `#${title
          .toLowerCase()
          .replace(/[^\w -]/g, "")
          .replaceAll(" ", "-")}`,
    );
    const targets = [...README.matchAll(/\]\(([^)]+)\)/g)].map(([, target = ""]) =>
      target.replaceAll("\n", ""),
    );
    const files = readdirSync(CLONE).concat(readdirSync(join(CLONE, "docs")).map((file) => `docs/${file}`));
    for (const target of targets) expect([...headings, ...files]).toContain(target);
  });
});

test("the tokens of definitions and instructions are as printed, to the hundred", async () => {
  const printed = Number(/take about ([\d,]+) tokens/.exec(README)?.[1]?.replace(",", ""));
  const { INSTRUCTIONS } = await import("../src/mcp/instructions.ts");
  const { z } = await import("zod");
  const definitions = tools.map(({ name, description, schema }) => ({
    name,
    description,
    inputSchema: z.toJSONSchema(schema, { io: "input" }),
  }));
  const tokens = (JSON.stringify(definitions).length + INSTRUCTIONS.length) / 4;
  expect(Math.round(tokens / 100) * 100).toBe(printed);
});
