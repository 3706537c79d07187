// The clients that people have, each on the same server: both protocol eras, the older SDK, the Inspector's command line.
import { spawn } from "node:child_process";
import { createRequire } from "node:module";
import { dirname, join } from "node:path";
import { Client as OlderClient } from "@modelcontextprotocol/sdk/client/index.js";
import { StdioClientTransport as OlderTransport } from "@modelcontextprotocol/sdk/client/stdio.js";
import { afterAll, beforeAll, describe, expect, test } from "vitest";
import { toAnswer } from "./answer.ts";
import { descendants, running } from "./left-behind.ts";
import { Place } from "./place.ts";
import { anySandbox } from "./rows.ts";
import { type Era, serverCommand } from "./server.ts";

const TOOLS = ["exec", "load", "reset", "vars"];
/** Tokens of definitions and instructions, of 2,000: the rest is for the tool that arrives later. */
const TOKEN_BUDGET = 1_500;
const CHARACTERS_PER_TOKEN = 4;

anySandbox("clients", (kind) => {
  let place: Place;
  beforeAll(() => {
    place = new Place(kind);
  });
  afterAll(async () => place?.[Symbol.asyncDispose]());

  const eras: [string, Era, string][] = [
    ["legacy", "legacy", "2025-11-25"],
    ["auto", "auto", "2026-07-28"],
    ["pinned", { pin: "2026-07-28" }, "2026-07-28"],
  ];
  test.each(eras)("the current SDK's client, %s", async (session, era, version) => {
    await using server = await place.start({ era });
    const { tools } = await server.client.listTools();
    expect(server.client.getNegotiatedProtocolVersion()).toBe(version);
    expect(tools.map(({ name }) => name).sort()).toEqual(TOOLS);
    expect((await server.exec("6 * 7", { session })).text).toBe("42");
    const heard: string[] = [];
    const onProgress = (message: string) => heard.push(message);
    await server.exec("import time\nprint('step one')\ntime.sleep(1.2)", { session }, { onProgress });
    expect(heard).toContain("step one");
    expect((await server.call("vars", { nmae: "x" })).text).toContain("nmae");
  });

  test("the older SDK's client", async () => {
    const client = new OlderClient({ name: "older", version: "1" });
    await client.connect(new OlderTransport({ ...serverCommand(place), env: place.env }));
    try {
      expect((await client.listTools()).tools.map(({ name }) => name).sort()).toEqual(TOOLS);
      const result = await client.callTool({ name: "exec", arguments: { code: "6 * 7", session: "older" } });
      expect(toAnswer(result as Parameters<typeof toAnswer>[0]).text).toBe("42");
    } finally {
      await client.close();
    }
  });

  describe.each(["legacy", "modern"])("the Inspector's command line, %s", (era) => {
    test("finds no fault with the definitions", async () => {
      const { result, complaints } = await inspector(place, era, ["--method", "tools/list", "--strict"]);
      const { tools } = result as { tools: { name: string }[] };
      expect(tools.map(({ name }) => name).sort()).toEqual(TOOLS);
      expect(complaints).not.toMatch(/warn|error/i);
    });

    test("runs a cell", async () => {
      const args = JSON.stringify({ code: "6 * 7", session: `inspector-${era}` });
      const call = ["--method", "tools/call", "--tool-name", "exec", "--tool-args-json", args];
      const { result } = await inspector(place, era, call);
      expect(toAnswer(result as Parameters<typeof toAnswer>[0]).text).toBe("42");
    });
  });

  test("tool definitions and instructions stay within their tokens", async () => {
    await using server = await place.start();
    const { tools } = await server.client.listTools();
    const definitions = tools.map(({ name, description, inputSchema }) => ({
      name,
      description,
      inputSchema,
    }));
    const instructions = server.client.getInstructions() ?? "";
    expect(instructions).toContain("sealed");
    const tokens = (JSON.stringify(definitions).length + instructions.length) / CHARACTERS_PER_TOKEN;
    console.log(`definitions and instructions: ${Math.round(tokens)} tokens of ${TOKEN_BUDGET}`);
    expect(tokens).toBeLessThan(TOKEN_BUDGET);
    for (const { annotations, title, _meta } of tools) {
      expect(title).toBeTruthy();
      expect(annotations).toMatchObject({ openWorldHint: false });
      expect(_meta).toMatchObject({ "anthropic/alwaysLoad": true });
      expect(_meta).toHaveProperty("anthropic/maxResultSizeChars");
      expect(_meta).toHaveProperty("anthropic/searchHint");
    }
  });

  test.each(eras)("nothing is started before the first tool call, %s", async (_, era) => {
    await using fresh = new Place(kind);
    const server = await fresh.start({ era });
    await server.client.listTools();
    expect(descendants(server.pid)).toEqual([]);
    expect(await running(fresh)).toHaveLength(1);
  });
});

const inspectorMain = join(
  dirname(createRequire(import.meta.url).resolve("@modelcontextprotocol/inspector/package.json")),
  "clients/launcher/build/index.js",
);

/** Runs the Inspector without its page; resolves with what it printed. Throws with its complaints where it fails. */
function inspector(place: Place, era: string, request: string[]) {
  const { command, args } = serverCommand(place);
  const variables = Object.entries(place.env).flatMap(([name, value]) => ["-e", `${name}=${value}`]);
  const options = ["--cli", ...variables, "--protocol-era", era, "--format", "json", ...request];
  return new Promise<{ result: unknown; complaints: string }>((resolve, reject) => {
    const child = spawn(process.execPath, [inspectorMain, ...options, "--", command, ...args], {
      env: place.env,
      stdio: ["ignore", "pipe", "pipe"],
      timeout: 50_000,
    });
    let output = "";
    let complaints = "";
    child.stdout.on("data", (chunk) => {
      output += chunk;
    });
    child.stderr.on("data", (chunk) => {
      complaints += chunk;
    });
    child.on("error", reject);
    child.on("close", (code) => {
      if (code === 0) resolve({ result: JSON.parse(output).result, complaints });
      else reject(new Error(`the Inspector ended with ${code}: ${complaints}${output}`));
    });
  });
}
