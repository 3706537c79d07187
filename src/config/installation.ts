// What setup made on this machine: the shape of install.json, read by the server and written by setup alone.
import { readFileSync } from "node:fs";
import { join } from "node:path";
import { z } from "zod";
import { writeAtomically } from "../shared/atomic-write.ts";
import { ClocheError } from "../shared/errors.ts";

const absolutePath = z.string().startsWith("/");

const installationSchema = z.object({
  version: z.literal(1),
  /** the clone that serves */
  clone: absolutePath,
  /** the Node it runs under */
  node: absolutePath,
  /** the sandbox that serves unless the configuration names another; absent before one was prepared */
  sandbox: z.enum(["docker", "bubblewrap"]).optional(),
  /** the image of the Docker sandbox and the base it was made from */
  docker: z.object({ image: z.string(), base: z.string() }).optional(),
  /** the Python environment of the bubblewrap sandbox */
  python: z
    .object({
      /** the virtual environment, mounted at /opt/cloche/python */
      environment: absolutePath,
      /** the interpreter it was made with */
      interpreter: absolutePath,
      /** the interpreter's own prefix: bound into the sandbox where it is not below /usr */
      prefix: absolutePath,
      /** `major.minor.micro` */
      version: z.string(),
    })
    .optional(),
  /** the user's own requirements, as given with --packages; kept so that setup keeps them when it runs again */
  packages: z.string().optional(),
  /** the launcher on the user's path */
  launcher: absolutePath.optional(),
  /** the folder that Claude Desktop's sessions belong to */
  desktopProject: absolutePath.optional(),
});

export type Installation = z.infer<typeof installationSchema>;

/** Where install.json lies in the state directory. */
export function installationPath(stateRoot: string): string {
  return join(stateRoot, "install.json");
}

/** What setup recorded in `stateRoot`, or `undefined` where it never ran. Throws `config.invalid` for a damaged file. */
export function readInstallation(stateRoot: string): Installation | undefined {
  const path = installationPath(stateRoot);
  let text: string;
  try {
    text = readFileSync(path, "utf8");
  } catch (cause) {
    if ((cause as NodeJS.ErrnoException).code === "ENOENT") return undefined;
    throw new ClocheError("config.invalid", { message: `${path} cannot be read`, hint: RERUN, cause });
  }
  try {
    return installationSchema.parse(JSON.parse(text));
  } catch (cause) {
    throw new ClocheError("config.invalid", {
      message: `${path} is not what setup writes`,
      hint: RERUN,
      cause,
    });
  }
}

const RERUN = "Run ./setup.sh again in the clone: it writes the file anew.";

export function writeInstallation(stateRoot: string, installation: Installation): void {
  const text = `${JSON.stringify(installationSchema.parse(installation), null, 2)}\n`;
  writeAtomically(installationPath(stateRoot), text, 0o644);
}
