// Which sandboxes this machine can measure, with what the references need to know of each.
import { sandboxes } from "../../src/app.ts";
import type { Config } from "../../src/config/config.ts";
import type { SandboxKind } from "../../src/sandboxes/sandbox.ts";

export interface ServingSandbox {
  kind: SandboxKind;
  /** the same imports without Cloche: program and arguments */
  bare: { what: string; command: string; args: string[] };
}

const IMPORTS = "import IPython, numpy, pandas";

/** Those that can serve here; `say` hears why another cannot. */
export async function servingSandboxes(
  config: Config,
  wanted: string,
  say: (line: string) => void,
): Promise<ServingSandbox[]> {
  const serving: ServingSandbox[] = [];
  for (const sandbox of await sandboxes(config)) {
    if (wanted !== "all" && wanted !== sandbox.kind) continue;
    const report = await sandbox.inspect();
    if (report.available) serving.push({ kind: sandbox.kind, bare: bareImports(config, sandbox.kind) });
    else say(`${sandbox.kind} is not measured: ${report.problems.map(({ problem }) => problem).join("; ")}.`);
  }
  return serving;
}

function bareImports({ installation }: Config, kind: SandboxKind): ServingSandbox["bare"] {
  if (kind === "bubblewrap")
    return {
      what: `python -c "${IMPORTS}"`,
      command: `${installation?.python?.environment}/bin/python`,
      args: ["-c", IMPORTS],
    };
  return {
    // Without a network, as the sandbox is: the bridge would cost the reference another 20 ms.
    what: `docker run --rm --network none IMAGE python -c "${IMPORTS}"`,
    command: "docker",
    args: [
      "run",
      "--rm",
      "--network",
      "none",
      "--entrypoint",
      "/opt/cloche/python/bin/python",
      installation?.docker?.image ?? "",
      "-c",
      IMPORTS,
    ],
  };
}
