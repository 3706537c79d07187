// setup.sh's options as the second half of the set-up sees them; setup.sh has already named what is unknown.
import { readFileSync } from "node:fs";
import { parseArgs } from "node:util";
import { ClocheError } from "../../src/shared/errors.ts";

export type SandboxChoice = "auto" | "all" | "docker" | "bubblewrap";

export interface Options {
  yes: boolean;
  sandbox: SandboxChoice;
  baseImage: string | undefined;
  /** the requirements file's text, "none" to drop what was kept, undefined to keep it */
  packages: { text: string } | "none" | undefined;
  register: boolean;
  uninstall: boolean;
  purge: boolean;
  /** make what sandboxes can be made without asking, and nothing else */
  prepare: boolean;
}

export function parseOptions(args: string[]): Options {
  const { values } = parseArgs({
    args,
    allowNegative: true,
    options: {
      yes: { type: "boolean", default: false },
      sandbox: { type: "string", default: "auto" },
      "base-image": { type: "string" },
      packages: { type: "string" },
      register: { type: "boolean", default: true },
      uninstall: { type: "boolean", default: false },
      purge: { type: "boolean", default: false },
      prepare: { type: "boolean", default: false },
    },
  });
  return {
    yes: values.yes,
    sandbox: values.sandbox as SandboxChoice,
    baseImage: values["base-image"],
    packages: readPackages(values.packages),
    register: values.register,
    uninstall: values.uninstall || values.purge,
    purge: values.purge,
    prepare: values.prepare,
  };
}

function readPackages(given: string | undefined): Options["packages"] {
  if (given === undefined || given === "none") return given;
  const text = readFileSync(given, "utf8");
  for (const line of text.split("\n").map((raw) => raw.trim())) {
    // The file travels into a build alone, so what it refers to would not be there.
    if (/^(-r|-c|-e|--requirement|--constraint|--editable)\b|^\.{0,2}\/|^file:/.test(line)) {
      throw new ClocheError("input.invalid", {
        message: `${given} refers to another file in "${line}"`,
        hint: "Name packages only, one a line, such as statsmodels==0.15.0.",
      });
    }
  }
  return { text };
}
