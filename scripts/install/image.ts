// The image of the Docker sandbox: its tag is a hash of what it is made from, and it is built through the engine's API.
import { copyFileSync, cpSync, mkdtempSync, readFileSync, rmSync, writeFileSync } from "node:fs";
import { tmpdir } from "node:os";
import { join } from "node:path";
import type Docker from "dockerode";
import type { Environment } from "../../src/config/surroundings.ts";
import { withDeadline } from "../../src/shared/async.ts";
import { buildArguments, companyCertificates, needsHostNetwork } from "./downloads.ts";
import { explained, pullFailure } from "./failures.ts";
import { fileInputs, fingerprint, sourceFiles } from "./fingerprint.ts";
import { type Say, say, step } from "./progress.ts";
import { registryAuth } from "./registry-auth.ts";

const REPOSITORY = "cloche-sandbox";
/** Label with the state directory an image was built for: another clone's images are not ours to remove. */
const OWNER = "cloche.state";
const ANSWER_MS = 30_000;
const REMOVAL_MS = 120_000;
/** Everything of `sandbox` that goes into the image; a directory ends with a slash. */
const INPUTS = ["Dockerfile", "requirements.txt", "finish_environment.py", "cloche_kernel/", "cloche/"];

export interface ImageRequest {
  engine: Docker;
  /** the clone's `sandbox` directory */
  sources: string;
  /** name of the base image; the Dockerfile's own where absent */
  base: string | undefined;
  /** the user's own requirements, as text */
  packages: string | undefined;
  env: Environment;
  /** directory of Docker's own config.json */
  dockerConfig: string;
  /** state directory the image belongs to, kept as a label */
  owner: string;
}

/** The base image is neither on the engine nor to be had from its registry. */
export class BaseUnavailable extends Error {
  constructor(base: string, reason: string) {
    super(`the base image ${base} cannot be fetched: ${reason}`);
    this.name = "BaseUnavailable";
  }
}

/** The base that the Dockerfile names when none is given. */
export function defaultBase(sources: string): string {
  const match = /^ARG BASE=(\S+)$/m.exec(readFileSync(join(sources, "Dockerfile"), "utf8"));
  if (!match?.[1]) throw new Error("sandbox/Dockerfile names no base (ARG BASE=…)");
  return match[1];
}

export function imageTag(sources: string, base: string, packages: string | undefined): string {
  return `${REPOSITORY}:${fingerprint([...fileInputs(sources, INPUTS), ["base", base], ["packages", packages ?? ""]])}`;
}

/** Builds the image unless the engine has it. Throws BaseUnavailable, or an error with the build's last lines. */
export async function prepareImage(request: ImageRequest): Promise<{ image: string; base: string }> {
  const { engine, sources, packages, env } = request;
  const base = request.base ?? defaultBase(sources);
  const image = imageTag(sources, base, packages);
  if (await isPresent(engine, image)) {
    say(`The sandbox image ${image} is up to date.`);
    return { image, base };
  }
  if (!(await isPresent(engine, base)))
    await step(`Fetching the base image ${base}`, (note) => pull(request, base, note));
  const context = mkdtempSync(join(tmpdir(), "cloche-image-"));
  try {
    for (const input of INPUTS) {
      if (!input.endsWith("/")) copyFileSync(join(sources, input), join(context, input));
      else
        for (const file of sourceFiles(join(sources, input)))
          cpSync(join(sources, input, file), join(context, input, file), { recursive: true });
    }
    if (packages !== undefined) writeFileSync(join(context, "extra.txt"), packages);
    const ca = companyCertificates(env);
    if (ca !== undefined) writeFileSync(join(context, "ca.crt"), ca);
    await step(`Building the sandbox image ${image} (about 1.1 GB on disk, 2 to 4 minutes)`, (note) =>
      build(request, context, image, { BASE: base, ...buildArguments(env) }, note),
    );
  } finally {
    rmSync(context, { recursive: true, force: true });
  }
  return { image, base };
}

async function isPresent(engine: Docker, image: string): Promise<boolean> {
  try {
    await withDeadline(engine.getImage(image).inspect(), ANSWER_MS, "the Docker engine's answer");
    return true;
  } catch (error) {
    if ((error as { statusCode?: number }).statusCode === 404) return false;
    throw error;
  }
}

async function pull({ engine, dockerConfig }: ImageRequest, base: string, note: Say): Promise<void> {
  const name = /:[^/]+$|@/.test(base) ? base : `${base}:latest`;
  try {
    const authconfig = registryAuth(name, dockerConfig);
    await follow(engine, await engine.pull(name, authconfig ? { authconfig } : {}), note);
  } catch (error) {
    throw new BaseUnavailable(base, pullFailure((error as Error).message));
  }
}

async function build(
  { engine, owner }: ImageRequest,
  context: string,
  image: string,
  args: Record<string, string>,
  note: Say,
): Promise<void> {
  const stream = await engine.buildImage(
    { context, src: sourceFiles(context) },
    {
      t: image,
      buildargs: { ...args, OWNER: owner },
      labels: { [OWNER]: owner },
      rm: true,
      forcerm: true,
      ...(needsHostNetwork(args) ? { networkmode: "host" } : {}),
    },
  );
  try {
    await follow(engine, stream, note);
  } catch (error) {
    throw explained(error);
  }
}

interface Progress {
  stream?: string;
  status?: string;
  error?: string;
}

/** Reads an engine's progress to its end; throws its error with the lines before it. */
function follow(engine: Docker, stream: NodeJS.ReadableStream, note: Say): Promise<void> {
  const lines: string[] = [];
  return new Promise((resolve, reject) => {
    const failed = (reason: string) => reject(new Error([...lines.slice(-15), reason].join("\n")));
    engine.modem.followProgress(
      stream,
      (error: Error | null, events: Progress[] | null) => {
        const reason = error?.message ?? events?.find((event) => event.error)?.error;
        if (reason === undefined) resolve();
        else failed(reason);
      },
      (event: Progress) => {
        const line = (event.stream ?? event.status ?? "").trim();
        if (line === "") return;
        lines.push(line);
        note(line.split("\n").at(-1) ?? "");
      },
    );
  });
}

/** Removes the images built for `owner`, but `keep`; one in use stays and is named. */
export async function retireImages(
  engine: Docker,
  owner: string,
  keep: readonly (string | undefined)[],
): Promise<void> {
  const listed = engine.listImages({ filters: { label: [`${OWNER}=${owner}`] } });
  const images = await withDeadline(listed, ANSWER_MS, "the Docker engine's answer");
  for (const name of images.flatMap(namesOf)) {
    if (keep.includes(name)) continue;
    try {
      await withDeadline(engine.getImage(name).remove(), REMOVAL_MS, "the removal");
      say(`Removed the image ${name}.`);
    } catch (error) {
      say(`The image ${name} stays: ${(error as Error).message}`);
    }
  }
}

/** The tags of an image; its id where another build took its tag away. */
function namesOf({ Id, RepoTags }: { Id: string; RepoTags?: string[] | undefined }): string[] {
  const tags = (RepoTags ?? []).filter((tag) => !tag.startsWith("<none>"));
  return tags.length > 0 ? tags : [Id];
}
