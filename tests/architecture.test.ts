// Who may import whom: the layers of src/, and which file may use which vendor package. Imports are the law here.
import { readdirSync, readFileSync } from "node:fs";
import { builtinModules } from "node:module";
import { dirname, join, relative } from "node:path";
import { fileURLToPath } from "node:url";
import { parseSync } from "oxc-parser";
import { describe, expect, test } from "vitest";

const SRC = fileURLToPath(new URL("../src", import.meta.url));

/** folder (or file, which wins) → what it may import: folders, or single files of them */
const MAY_IMPORT: Record<string, readonly string[]> = {
  shared: [],
  kernel: ["sandboxes/sandbox.ts"],
  sandboxes: [],
  snapshots: [],
  artifacts: [],
  staging: ["kernel/messages.ts"],
  hostcalls: ["kernel", "artifacts/store.ts"],
  session: ["kernel", "snapshots/checkpoints.ts", "snapshots/store.ts", "staging"],
  mcp: ["session", "snapshots/store.ts", "staging"],
  config: ["sandboxes/sandbox.ts"],
  cli: ["config", "mcp", "session", "snapshots", "sandboxes/sandbox.ts", "app.ts", "version.ts"],
  "app.ts": [
    "cli/context.ts",
    "config",
    "session",
    "kernel",
    "hostcalls",
    "sandboxes",
    "snapshots",
    "artifacts",
    "staging",
  ],
  "main.ts": ["cli"],
  "version.ts": [],
};

/** vendor package → the files that may import it */
const VENDORS: Record<string, RegExp> = {
  "@modelcontextprotocol/server": /^(mcp\/(server|connection|request-lines)|cli\/serve)\.ts$/,
  "@modelcontextprotocol/server/stdio": /^cli\/serve\.ts$/,
  zod: /^(mcp|kernel|hostcalls|config)\//,
  "better-sqlite3": /^(snapshots|staging)\//,
  dockerode: /^sandboxes\/docker[a-z-]*\.ts$/,
  commander: /^cli\/.*\.ts$/,
};

/** Files whose stdout is not the server's: the terminal's commands, and processes of their own. */
const OWN_STDOUT = /^(cli\/(?!serve\.ts)|staging\/sqlite-backup\.ts)/;

/** Files that may read the environment of the process. */
const READS_ENVIRONMENT = /^config\/surroundings\.ts$/;

interface Import {
  from: string;
  to: string;
  types: boolean;
  dynamic: boolean;
}

function files(directory: string): string[] {
  return readdirSync(directory, { withFileTypes: true }).flatMap((entry) => {
    const path = join(directory, entry.name);
    return entry.isDirectory() ? files(path) : path.endsWith(".ts") ? [path] : [];
  });
}

function importsOf(path: string): Import[] {
  const source = readFileSync(path, "utf8");
  const { module, errors } = parseSync(path, source);
  if (errors.length > 0) throw new Error(`${path}: ${errors[0]?.message}`);
  const from = relative(SRC, path);
  const target = (specifier: string) =>
    specifier.startsWith(".") ? relative(SRC, join(dirname(path), specifier)) : specifier;
  return [
    ...module.staticImports.map(({ moduleRequest, entries }) => ({
      from,
      to: target(moduleRequest.value),
      types: entries.length > 0 && entries.every(({ isType }) => isType),
      dynamic: false,
    })),
    ...module.staticExports.flatMap(({ entries }) =>
      entries.flatMap(({ moduleRequest, isType }) =>
        moduleRequest ? [{ from, to: target(moduleRequest.value), types: isType, dynamic: false }] : [],
      ),
    ),
    ...module.dynamicImports.map(({ moduleRequest }) => ({
      from,
      to: target(source.slice(moduleRequest.start + 1, moduleRequest.end - 1)),
      types: false,
      dynamic: true,
    })),
  ];
}

const sources = files(SRC);
const imports = sources.flatMap(importsOf);
const isLocal = ({ to }: Import) => to.endsWith(".ts");
const isBuiltin = (name: string) => name.startsWith("node:") || builtinModules.includes(name);
const room = (file: string) => (file.includes("/") ? file.slice(0, file.indexOf("/")) : file);

describe("the layers of src", () => {
  test("every folder and file at the top has its rule", () => {
    const rooms = new Set(sources.map((path) => room(relative(SRC, path))));
    expect([...rooms].filter((name) => !(name in MAY_IMPORT)).sort()).toEqual([]);
    expect(Object.keys(MAY_IMPORT).filter((name) => !rooms.has(name))).toEqual([]);
  });

  test("nobody imports what its layer may not", () => {
    const broken = imports.filter(isLocal).filter(({ from, to }) => {
      if (room(from) === room(to) || room(to) === "shared") return false;
      const allowed = MAY_IMPORT[room(from)] ?? [];
      return !allowed.includes(room(to)) && !allowed.includes(to);
    });
    expect(broken.map(({ from, to }) => `${from} → ${to}`)).toEqual([]);
  });

  test("implementations of one interface do not know each other", () => {
    const kinds = (file: string) => /^sandboxes\/(docker|bubblewrap)/.exec(file)?.[1];
    const broken = imports.filter(({ from, to }) => kinds(from) && kinds(to) && kinds(from) !== kinds(to));
    expect(broken.map(({ from, to }) => `${from} → ${to}`)).toEqual([]);
  });

  test("imports form no circle", () => {
    const edges = new Map<string, string[]>();
    for (const { from, to } of imports.filter((each) => isLocal(each) && !each.types))
      edges.set(from, [...(edges.get(from) ?? []), to]);
    const circles: string[] = [];
    const done = new Set<string>();
    const visit = (file: string, trail: string[]) => {
      if (trail.includes(file)) circles.push([...trail.slice(trail.indexOf(file)), file].join(" → "));
      else if (!done.has(file)) {
        for (const next of edges.get(file) ?? []) visit(next, [...trail, file]);
        done.add(file);
      }
    };
    for (const file of edges.keys()) visit(file, []);
    expect(circles).toEqual([]);
  });
});

describe("vendors", () => {
  const foreign = imports.filter((each) => !isLocal(each) && !isBuiltin(each.to));

  test("each is imported only where it belongs", () => {
    const broken = foreign.filter(({ from, to }) => !VENDORS[to]?.test(from));
    expect(broken.map(({ from, to }) => `${from} → ${to}`)).toEqual([]);
  });

  test("every one that package.json brings is used", () => {
    const { dependencies } = JSON.parse(readFileSync(join(SRC, "../package.json"), "utf8"));
    const used = new Set(
      foreign.map(({ to }) =>
        to
          .split("/")
          .slice(0, to.startsWith("@") ? 2 : 1)
          .join("/"),
      ),
    );
    expect(Object.keys(dependencies).filter((name) => !used.has(name))).toEqual([]);
  });

  test("the heavy ones load on first use", () => {
    const eager = foreign.filter(({ to, types, dynamic }) => to === "dockerode" && !types && !dynamic);
    expect(eager.map(({ from }) => from)).toEqual([]);
  });
});

test("only config reads the environment of the process", () => {
  const readers = sources
    .filter((path) => /\bprocess\.env\b/.test(readFileSync(path, "utf8").replace(/\/\/.*$/gm, "")))
    .map((path) => relative(SRC, path));
  expect(readers.filter((file) => !READS_ENVIRONMENT.test(file))).toEqual([]);
});

test("nothing but the protocol writes to stdout while serving", () => {
  const writers = sources
    .filter((path) => /\bconsole\.|process\.stdout\.write/.test(readFileSync(path, "utf8")))
    .map((path) => relative(SRC, path));
  expect(writers.filter((file) => !OWN_STDOUT.test(file))).toEqual([]);
});
