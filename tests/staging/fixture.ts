// A project, a root and a home on the real disk, with a staging area over them.
import { mkdir, mkdtemp, readFile, realpath, rm, writeFile } from "node:fs/promises";
import { tmpdir } from "node:os";
import { dirname, join } from "node:path";
import { Access, type AccessPolicy } from "../../src/staging/access.ts";
import { StagingArea, type StagingOptions } from "../../src/staging/stage.ts";

export const SECRET = "TOP-SECRET-CANARY";

export interface Place extends AsyncDisposable {
  top: string;
  project: string;
  home: string;
  root: string;
  outside: string;
  staging: string;
  access: Access;
  area: StagingArea;
  /** writes a file below `top`, with its directories */
  write(path: string, content?: string | Buffer): Promise<string>;
  /** bytes of a staged file, by its path inside the sandbox */
  staged(path: string): Promise<Buffer>;
  stage(path: string): ReturnType<StagingArea["stage"]>;
}

export async function makePlace(
  policy: Partial<AccessPolicy> = {},
  staging: Partial<StagingOptions> = {},
): Promise<Place> {
  const top = await realpath(await mkdtemp(join(tmpdir(), "cloche-staging-")));
  const [project, home, root, outside, area] = ["project", "home", "root", "outside", "staging"].map((name) =>
    join(top, name),
  ) as [string, string, string, string, string];
  for (const directory of [project, home, root, outside, area]) await mkdir(directory);
  const access = new Access({ project, home, roots: [root], own: [join(top, "root/own-state")], ...policy });
  const made = new StagingArea({ directory: area, access, ...staging });
  return {
    top,
    project,
    home,
    root,
    outside,
    staging: area,
    access,
    area: made,
    async write(path, content = `content of ${path}`) {
      const full = join(top, path);
      await mkdir(dirname(full), { recursive: true });
      await writeFile(full, content);
      return full;
    },
    staged: (path) => readFile(join(area, path.replace(/^\//, ""))),
    stage: (path) => made.stage({ path }, AbortSignal.timeout(30_000)),
    async [Symbol.asyncDispose]() {
      await rm(top, { recursive: true, force: true });
    },
  };
}

/** The sentence of the ClocheError that `work` fails with, and its code in front. */
export async function failure(work: Promise<unknown>): Promise<string> {
  try {
    await work;
  } catch (error) {
    const { code, sentence, stack } = error as { code?: string; sentence?: string; stack?: string };
    return sentence ? `${code}: ${sentence}` : `foreign error ${stack}`;
  }
  return "it did not fail";
}
