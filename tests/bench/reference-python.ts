// The Python that the references run in: a virtual environment of its own, made on first use, with pinned packages.
import { type ChildProcess, spawn, spawnSync } from "node:child_process";
import { createHash } from "node:crypto";
import { existsSync, mkdtempSync, readFileSync, renameSync, rmSync, writeFileSync } from "node:fs";
import { tmpdir } from "node:os";
import { join } from "node:path";
import { createInterface } from "node:readline";
import { fileURLToPath } from "node:url";
import { findInterpreter } from "../../scripts/install/interpreter.ts";
import { PEER_PACKAGES } from "./peer-server.ts";

const SANDBOX_REQUIREMENTS = fileURLToPath(new URL("../../sandbox/requirements.txt", import.meta.url));
const SCRIPTS = fileURLToPath(new URL("references", import.meta.url));
/** What the references use; versions of the sandbox's own packages are the sandbox's. */
const FROM_SANDBOX = ["ipython", "numpy", "pandas", "pyarrow", "matplotlib", "cloudpickle", "scikit-learn"];
const OWN = ["ipykernel==7.4.0", "jupyter_client==8.10.0", "pyzmq==27.3.0", "dill==0.4.1"];

export class ReferencePython {
  readonly executable: string;

  constructor(executable: string) {
    this.executable = executable;
  }

  /** Starts a script of references/ that answers requests line by line. The caller ends it. */
  peer(script: string): PythonPeer {
    return new PythonPeer(this.executable, join(SCRIPTS, script));
  }

  /** One request to a fresh process. */
  async once(script: string, request: unknown): Promise<unknown> {
    await using peer = this.peer(script);
    return await peer.ask(request);
  }
}

/** A script that reads one JSON request a line and writes one JSON answer a line. */
export class PythonPeer implements AsyncDisposable {
  private readonly child: ChildProcess;
  private readonly home: string;
  private readonly answers: AsyncIterator<string>;

  constructor(executable: string, script: string) {
    // IPython writes its history to its home; the person's own stays as it is.
    this.home = mkdtempSync(join(tmpdir(), "cloche-bench-"));
    this.child = spawn(executable, [script], {
      stdio: ["pipe", "pipe", "inherit"],
      env: { PATH: process.env.PATH, HOME: this.home, MPLBACKEND: "agg" },
    });
    this.answers = createInterface({ input: this.child.stdout! })[Symbol.asyncIterator]();
  }

  async ask(request: unknown): Promise<unknown> {
    this.child.stdin!.write(`${JSON.stringify(request)}\n`);
    const { value, done } = await this.answers.next();
    if (done) throw new Error("the reference ended without an answer; its own words are above");
    return JSON.parse(value);
  }

  async [Symbol.asyncDispose](): Promise<void> {
    const gone = new Promise((resolve) => this.child.on("exit", resolve));
    this.child.stdin!.end();
    if (this.child.exitCode === null) await gone;
    rmSync(this.home, { recursive: true, force: true });
  }
}

/** The references' environment below `directory`, made unless it is there. */
export function referencePython(directory: string, say: (line: string) => void): ReferencePython {
  const packages = [...sandboxPins(), ...OWN];
  return new ReferencePython(environment(directory, "python", packages, say));
}

/** The peer's own environment: its packages would change the references'. */
export function peerPython(directory: string, say: (line: string) => void): string {
  return environment(directory, "peer", PEER_PACKAGES, say);
}

/** Interpreter of the environment with these packages. Throws where no interpreter or no package is to be had. */
function environment(
  directory: string,
  name: string,
  packages: readonly string[],
  say: (line: string) => void,
): string {
  const requirements = packages.join("\n");
  const hash = createHash("sha256").update(requirements).digest("hex").slice(0, 12);
  const path = join(directory, `${name}-${hash}`);
  if (!existsSync(path)) {
    const interpreter = findInterpreter(process.env.PATH, process.getuid?.() ?? -1);
    if (!interpreter) throw new Error("the references need a Python of 3.11 to 3.14 with its venv module");
    say(`Making the Python environment ${name}-${hash} (once, about a minute) …`);
    const draft = `${path}.draft`;
    rmSync(draft, { recursive: true, force: true });
    run(interpreter.executable, ["-m", "venv", draft]);
    writeFileSync(`${draft}/requirements.txt`, `${requirements}\n`);
    const install = ["-m", "pip", "install", "--quiet", "--disable-pip-version-check"];
    run(`${draft}/bin/python`, [...install, "-r", `${draft}/requirements.txt`]);
    renameSync(draft, path);
  }
  return join(path, "bin/python");
}

function sandboxPins(): string[] {
  const lines = readFileSync(SANDBOX_REQUIREMENTS, "utf8").split("\n");
  return FROM_SANDBOX.map((name) => {
    const pin = lines.find((line) => line.startsWith(`${name}==`));
    if (!pin) throw new Error(`sandbox/requirements.txt does not pin ${name}`);
    return pin;
  });
}

function run(command: string, args: string[]): void {
  const { status, error } = spawnSync(command, args, { stdio: ["ignore", "inherit", "inherit"] });
  if (status !== 0)
    throw new Error(`${command} ${args.join(" ")} failed${error ? ` (${error.message})` : ""}`);
}
