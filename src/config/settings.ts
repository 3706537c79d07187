// Every setting: its type, its default, the environment variable that overrides it, and what counts as narrowing.
// config.schema.json is generated from here.
import { z } from "zod";
import { parseSize, SIZE_PATTERN } from "./sizes.ts";
import type { Surroundings } from "./surroundings.ts";

const GiB = 1024 ** 3;
const MiB = 1024 ** 2;

/** A size in bytes, at least `smallest`, as a number or with a unit. */
function size(smallest: number, description: string) {
  return z
    .union([
      z.number().int().positive(),
      z.string().regex(SIZE_PATTERN, 'expected a size such as "8GiB" or "512MB"'),
    ])
    .transform((given) => (typeof given === "number" ? given : (parseSize(given) ?? 0)))
    .refine((bytes) => bytes >= smallest, `must be at least ${smallest / MiB} MiB`)
    .describe(description);
}

const path = z.string().min(1).max(4096);
const glob = z.string().min(1).max(1024);

/** What may stand in config.json and .cloche.json. */
export const settingsFile = z
  .strictObject({
    $schema: z.string().optional().describe("Where editors find this schema."),
    sandbox: z
      .enum(["auto", "docker", "bubblewrap"])
      .describe("Which sandbox serves; auto takes Docker where an engine answers, else bubblewrap."),
    memory: size(256 * MiB, "Memory of one session. Default: half of the machine's, at least 2 GiB."),
    cpus: z
      .number()
      .min(0.1)
      .max(4096)
      .describe("Processors of one session. Default: all but one, but two where there are two."),
    processes: z
      .number()
      .int()
      .min(32)
      .max(100_000)
      .describe("Processes and threads of one session. Default: 512."),
    tmpfs: size(
      16 * MiB,
      "Size of /workspace and of /tmp, each; counts as memory. Default: a quarter of memory.",
    ),
    scratch: size(16 * MiB, "Disk space of one session's /scratch. Default: 10 GiB."),
    disk: size(64 * MiB, "Disk space that the files loaded into one session may take. Default: 20 GB."),
    diskCap: size(
      64 * MiB,
      "Disk space that everything Cloche keeps of one project may take; at the cap, states are no longer kept. Default: 20 GB.",
    ),
    sessions: z
      .number()
      .int()
      .min(1)
      .max(1_000)
      .describe("Sessions one server keeps open at once, memory permitting. Default: 64."),
    idlePauseMinutes: z
      .number()
      .positive()
      .max(100_000)
      .describe("Minutes without a call after which a session is paused. Default: 10."),
    roots: z
      .array(path)
      .max(100)
      .describe("Directories beyond the project from which load may read: absolute, or starting with ~/."),
    deny: z
      .array(glob)
      .max(200)
      .describe("Globs of files that load never reads, added to the built-in list of keys and credentials."),
    output: z
      .string()
      .regex(/^[A-Za-z0-9_][A-Za-z0-9._-]{0,63}$/, "expected a plain directory name such as cloche-out")
      .describe("Directory in the project that publish writes to. Default: cloche-out."),
    dockerHost: z
      .string()
      .regex(/^(unix|tcp|http|https|ssh):\/\/./, "expected an address such as unix:///var/run/docker.sock")
      .describe(
        "Address of the Docker engine. DOCKER_HOST and DOCKER_CONTEXT go before it; default: the current Docker context.",
      ),
    logLevel: z
      .enum(["debug", "info", "warn", "error"])
      .describe("Least level that is logged. Default: info."),
  })
  .partial();

export type SettingsFile = z.infer<typeof settingsFile>;
export type SettingName = Exclude<keyof SettingsFile, "$schema">;

/** Every setting with its value; sizes in `bytes`. `dockerHost` is empty where nothing names an engine. */
export type Settings = Required<Omit<SettingsFile, "$schema">>;

export const settingNames = Object.keys(settingsFile.shape).filter(
  (name): name is SettingName => name !== "$schema",
);

export function defaultSettings({ memory, cpus }: Surroundings): Settings {
  const half = Math.max(2 * GiB, Math.floor(memory / 2));
  return {
    sandbox: "auto",
    memory: half,
    // Two where there are two: readers such as pandas.read_csv use both, and the kernel shares them fairly.
    cpus: Math.min(cpus, Math.max(2, cpus - 1)),
    processes: 512,
    tmpfs: Math.floor(half / 4),
    scratch: 10 * GiB,
    disk: 20e9,
    diskCap: 20e9,
    sessions: 64,
    idlePauseMinutes: 10,
    roots: [],
    deny: [],
    output: "cloche-out",
    dockerHost: "",
    logLevel: "info",
  };
}

/**
 * Variables that override a setting. Roots and denied files have none: environment settings travel in project files
 * of MCP clients, and what may be read is decided in the person's own config.json.
 */
export const settingVariables: Partial<Record<SettingName, string>> = {
  sandbox: "CLOCHE_SANDBOX",
  memory: "CLOCHE_MEMORY",
  cpus: "CLOCHE_CPUS",
  processes: "CLOCHE_PROCESSES",
  tmpfs: "CLOCHE_TMPFS",
  scratch: "CLOCHE_SCRATCH",
  disk: "CLOCHE_DISK",
  diskCap: "CLOCHE_DISK_CAP",
  sessions: "CLOCHE_SESSIONS",
  idlePauseMinutes: "CLOCHE_IDLE_PAUSE_MINUTES",
  output: "CLOCHE_OUTPUT",
  dockerHost: "DOCKER_HOST",
  logLevel: "CLOCHE_LOG_LEVEL",
};

/** Settings a project may lower without being trusted. */
export const lowerIsNarrower: ReadonlySet<SettingName> = new Set<SettingName>([
  "memory",
  "cpus",
  "processes",
  "tmpfs",
  "scratch",
  "disk",
  "diskCap",
  "sessions",
  "idlePauseMinutes",
]);
