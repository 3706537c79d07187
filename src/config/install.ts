// What set-up left behind for the server: which image serves, which Python environment, which Node.
// Tolerant on purpose: a record from another version is used as far as it is understood.
import { readFileSync } from "node:fs";
import { z } from "zod";

const text = z.string().min(1).optional().catch(undefined);

const installRecord = z.looseObject({
  /** version of Cloche that was set up */
  version: text,
  /** Node that runs the server, absolute */
  node: text,
  image: z
    .looseObject({ tag: z.string().min(1), base: text })
    .optional()
    .catch(undefined),
  python: z
    .looseObject({
      /** virtual environment that the dropped uid can read, absolute */
      env: z.string().startsWith("/"),
      version: text,
      /** prefix of the interpreter the environment was made from */
      basePrefix: text,
    })
    .optional()
    .catch(undefined),
  /** the person's requirements file, as it was built in */
  packages: text,
  /** the command on the person's path */
  launcher: text,
});

export type Install = z.infer<typeof installRecord>;

/** The record, or an empty one where set-up has not run or left nothing readable. */
export function readInstall(path: string): Install {
  try {
    return installRecord.parse(JSON.parse(readFileSync(path, "utf8")));
  } catch {
    return {};
  }
}
