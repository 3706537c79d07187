// The engine is found where Docker's client would find it, and one that cannot serve is refused with a sentence.
import { createHash } from "node:crypto";
import { mkdirSync, mkdtempSync, rmSync, writeFileSync } from "node:fs";
import { createServer } from "node:net";
import { tmpdir } from "node:os";
import { join } from "node:path";
import { afterEach, beforeEach, expect, test } from "vitest";
import { DockerSandbox } from "../../src/sandboxes/docker.ts";
import { explainConnection } from "../../src/sandboxes/docker-connection.ts";
import { type EngineEnvironment, findEngine } from "../../src/sandboxes/docker-engine.ts";

let home: string;
beforeEach(() => {
  home = mkdtempSync(join(tmpdir(), "cloche-engine-"));
});
afterEach(() => rmSync(home, { recursive: true }));

const environment = (more: Partial<EngineEnvironment> = {}): EngineEnvironment => ({
  home,
  configDirectory: join(home, ".docker"),
  tlsVerify: false,
  ...more,
});

function makeContext(name: string, host: string, current = false): void {
  const directory = join(home, ".docker/contexts/meta", createHash("sha256").update(name).digest("hex"));
  mkdirSync(directory, { recursive: true });
  const meta = { Name: name, Endpoints: { docker: { Host: host, SkipTLSVerify: false } } };
  writeFileSync(join(directory, "meta.json"), JSON.stringify(meta));
  if (current) writeFileSync(join(home, ".docker/config.json"), JSON.stringify({ currentContext: name }));
}

test("DOCKER_HOST wins over the current context, which wins over the default sockets", () => {
  makeContext("desktop-linux", "unix:///run/desktop.sock", true);
  expect(findEngine(environment())).toEqual({
    label: "unix:///run/desktop.sock",
    foundBy: "context desktop-linux",
    socketPath: "/run/desktop.sock",
  });
  expect(findEngine(environment({ host: "unix:///run/mine.sock" }))?.socketPath).toBe("/run/mine.sock");
});

test("DOCKER_CONTEXT wins over the current context", () => {
  makeContext("desktop-linux", "unix:///run/desktop.sock", true);
  makeContext("rootless", "unix:///run/user/1000/docker.sock");
  expect(findEngine(environment({ context: "rootless" }))?.socketPath).toBe("/run/user/1000/docker.sock");
});

test("a rootless engine's socket is found without a context", async () => {
  const runtimeDirectory = join(home, "run");
  mkdirSync(runtimeDirectory);
  const server = createServer().listen(join(runtimeDirectory, "docker.sock"));
  await new Promise((resolve) => server.once("listening", resolve));
  const found = findEngine(environment({ runtimeDirectory }));
  server.close();
  // A machine's own engine, where there is one, comes first.
  expect(["/var/run/docker.sock", join(runtimeDirectory, "docker.sock")]).toContain(found?.socketPath);
});

test("a loopback engine over TCP carries its certificates", () => {
  const certificates = join(home, "certificates");
  mkdirSync(certificates);
  for (const name of ["ca", "cert", "key"]) writeFileSync(join(certificates, `${name}.pem`), name);
  const found = findEngine(environment({ host: "tcp://127.0.0.1:2376", certificates, tlsVerify: true }));
  expect(found?.tcp).toEqual({
    host: "127.0.0.1",
    port: 2376,
    tls: { ca: Buffer.from("ca"), cert: Buffer.from("cert"), key: Buffer.from("key") },
  });
});

test.each([
  ["tcp://10.0.0.5:2375", /on another machine/],
  ["ssh://me@build", /over ssh/],
  ["npipe:////./pipe/docker_engine", /Windows/],
  ["docker.example", /not the address/],
])("%s is refused with a sentence", (host, sentence) => {
  expect(() => findEngine(environment({ host }))).toThrow(sentence);
});

test("a context that does not exist is named", () => {
  expect(() => findEngine(environment({ context: "gone" }))).toThrow(/context "gone" does not exist/);
});

test("a damaged config.json is named, not guessed around", () => {
  mkdirSync(join(home, ".docker"));
  writeFileSync(join(home, ".docker/config.json"), "{");
  expect(() => findEngine(environment())).toThrow(/config\.json cannot be read as JSON/);
});

test("a socket closed to this user names the group that opens it", () => {
  const address = { label: "unix:///var/run/docker.sock", foundBy: "default socket" };
  const error = explainConnection(address, Object.assign(new Error("denied"), { code: "EACCES" }));
  expect(error.sentence).toMatch(/closed to this user\. Run: sudo usermod -aG docker/);
});

test("an engine that is not running is reported as a problem with its remedy, not thrown", async () => {
  const sandbox = new DockerSandbox({
    state: home,
    environment: environment({ host: `unix://${home}/none.sock` }),
    image: "x",
  });
  const report = await sandbox.inspect();
  expect(report.available).toBe(false);
  expect(report.problems).toEqual([
    { problem: expect.stringContaining("is not running"), remedy: expect.stringContaining("Start it") },
  ]);
});

test("an engine that accepts and never answers is given up on", async () => {
  const server = createServer(() => {}).listen(join(home, "mute.sock"));
  await new Promise((resolve) => server.once("listening", resolve));
  const sandbox = new DockerSandbox({
    state: home,
    environment: environment({ host: `unix://${home}/mute.sock` }),
    image: "x",
  });
  const started = Date.now();
  const report = await sandbox.inspect();
  server.close();
  expect(report.problems[0]?.problem).toMatch(/does not answer/);
  expect(Date.now() - started).toBeLessThan(10_000);
});
