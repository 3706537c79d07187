// Registration with the real Claude Code: for the user, once, and gone again.
import { mkdirSync, mkdtempSync, readFileSync, rmSync, writeFileSync } from "node:fs";
import { tmpdir } from "node:os";
import { join } from "node:path";
import { afterEach, beforeEach, expect, test } from "vitest";
import {
  clientSnippet,
  findClaude,
  registerWithClaudeCode,
  unregisterFromClaudeCode,
} from "../../claude-integration/claude-code.ts";
import { readSurroundings } from "../../src/config/surroundings.ts";
import { claudeDirectory, missingClaude } from "../e2e/claude-code/binary.ts";
import { needing } from "../e2e/rows.ts";

const claude = join(claudeDirectory, "claude");
const missing = await missingClaude();
let home: string;

beforeEach(() => {
  home = mkdtempSync(join(tmpdir(), "cloche-claude-"));
});
afterEach(() => rmSync(home, { recursive: true, force: true }));

const surroundings = () =>
  readSurroundings({ PATH: process.env.PATH, HOME: home, CLAUDE_CODE_DISABLE_NONESSENTIAL_TRAFFIC: "1" });
const servers = () => JSON.parse(readFileSync(join(home, ".claude.json"), "utf8")).mcpServers ?? {};
const register = (launcher: string) => registerWithClaudeCode(claude, launcher, surroundings());

needing("claude", "Claude Code", missing, () => {
  test("Claude Code is registered with once, and again when the launcher moved", () => {
    expect(register("/opt/a/cloche")).toBe("added");
    expect(servers().cloche).toMatchObject({ command: "/opt/a/cloche", args: ["serve"] });
    expect(register("/opt/a/cloche")).toBe("unchanged");
    expect(register("/opt/b/cloche")).toBe("renewed");
    expect(servers().cloche).toMatchObject({ command: "/opt/b/cloche", args: ["serve"] });
  });

  test("the registration is removed, but not one of another launcher", () => {
    register("/opt/a/cloche");
    expect(unregisterFromClaudeCode(claude, "/opt/b/cloche", surroundings())).toBe(false);
    expect(unregisterFromClaudeCode(claude, "/opt/a/cloche", surroundings())).toBe(true);
    expect(servers()).toEqual({});
  });
});

test("Claude Code is found where its own installer puts it, when the path does not name it", () => {
  const bin = join(home, ".claude/local");
  mkdirSync(bin, { recursive: true });
  writeFileSync(join(bin, "claude"), "", { mode: 0o755 });
  expect(findClaude({ ...surroundings(), env: { PATH: "/nonexistent" } })).toBe(join(bin, "claude"));
});

test("the snippet for other clients is JSON with an absolute command", () => {
  expect(JSON.parse(clientSnippet("/opt/a/cloche"))).toEqual({
    mcpServers: { cloche: { command: "/opt/a/cloche", args: ["serve"] } },
  });
});
