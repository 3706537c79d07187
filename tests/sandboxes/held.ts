// A process that holds one sandbox and waits to be killed: `node held.ts KIND TOKEN`.
import type { SandboxKind } from "../../src/sandboxes/sandbox.ts";
import { lingering, openBox, python } from "./fixture.ts";

const [kind, token] = process.argv.slice(2) as [SandboxKind, string];
const box = await openBox(kind, python(lingering(token)), { unread: true });
box.running.stdio.once("data", () => process.stdout.write(`${box.directory.name}\n`));
