// The staging area of one session: host files are copied into it read-only, and the sandbox sees them under /data.
// Says what was staged; how it is read is the kernel's business.
import { chmod, link, mkdir, readdir, rm, stat, writeFile } from "node:fs/promises";
import { join } from "node:path";
import { type LoadRequest, MAX_PAYLOAD_BYTES } from "../kernel/messages.ts";
import { amount, DISK_RESERVE, freeBytes } from "../shared/disk-space.ts";
import { ClocheError } from "../shared/errors.ts";
import { type Access, refused } from "./access.ts";
import { asCopyError, type CopyOptions, copyFromDescriptor } from "./copy.ts";
import { demandQuietDuckdb, isDuckdb } from "./duckdb.ts";
import { HardLinks } from "./hard-links.ts";
import { label, safeFileName, unique } from "./label.ts";
import {
  type Candidate,
  demandOneSource,
  describeLeftOut,
  findCandidates,
  type StageRequest,
} from "./request.ts";
import { identityKey, SourceFile } from "./source-file.ts";
import { copySqlite, hasSideFiles, isSqlite } from "./sqlite.ts";
import { variableName } from "./variable-name.ts";

/** Longest `text`, in `bytes`: it came through the conversation, so more is a mistake. */
export const MAX_TEXT_BYTES = 5_000_000;
/** Files left out that are named one by one. */
const MAX_NOTES = 5;
/** Where the sandbox sees the `data` directory of the staging directory. */
const DATA = "/data";

export interface StagingOptions {
  /** host directory that the sandbox sees at /cloche; its `data` is made and filled here */
  directory: string;
  access: Access;
  /** most that all staged files of the session may take, in `bytes` */
  capacity?: number;
  /** room that stays free on the disk, in `bytes` */
  reserve?: number;
}

export interface StageProgress {
  /** `bytes` copied so far, of `total` */
  bytes: number;
  total: number;
}

export interface Staged {
  /** for the kernel */
  request: LoadRequest;
  /** sentences for the reader: what was left out and why */
  notes: string[];
}

interface StagedFile {
  /** file name under `data` */
  name: string;
  /** `bytes` */
  size: number;
}

/** What one `stage` call works with. */
interface Run {
  signal: AbortSignal;
  links: HardLinks;
  made: StagedFile[];
  /** files whose content was seen to stand still, by identity */
  fresh: Map<string, StagedFile>;
  /** `bytes` that files before the present one took */
  done: number;
  total: number;
  onProgress(progress: StageProgress): void;
}

export class StagingArea {
  private readonly data: string;
  private readonly access: Access;
  private readonly capacity: number;
  private readonly reserve: number;
  /** staged copies by the identity of their source, so that an unchanged file is copied once */
  private readonly copies = new Map<string, StagedFile>();
  /** lower-case names in use: the host's file system may ignore letter case */
  private readonly names = new Set<string>();
  private used = 0;

  constructor(options: StagingOptions) {
    this.data = join(options.directory, "data");
    this.access = options.access;
    this.capacity = options.capacity ?? Number.POSITIVE_INFINITY;
    this.reserve = options.reserve ?? DISK_RESERVE;
  }

  /**
   * Stages what `request` names. Throws `input.invalid`, `load.refused`, `load.not_found` or `load.too_large`, each with
   * a sentence, or the signal's reason; nothing of this call is staged then.
   */
  async stage(
    request: StageRequest,
    signal: AbortSignal,
    onProgress: (progress: StageProgress) => void = () => {},
  ): Promise<Staged> {
    signal.throwIfAborted();
    demandOneSource(request);
    const links = new HardLinks(this.access);
    const run: Run = { signal, links, made: [], fresh: new Map(), done: 0, total: 0, onProgress };
    try {
      await this.prepare();
      const staged =
        request.text === undefined ? await this.stageFiles(request, run) : await this.stageText(request, run);
      for (const [key, file] of run.fresh) this.copies.set(key, file);
      return staged;
    } catch (error) {
      for (const file of [...run.made]) await this.release(file, run);
      throw asCopyError(error);
    }
  }

  /** Removes every staged file; those of a load under way must be gone before. */
  async clear(): Promise<void> {
    this.copies.clear();
    this.names.clear();
    this.used = 0;
    for (const name of await readdir(this.data).catch(() => []))
      await rm(join(this.data, name), { recursive: true, force: true });
  }

  /** Makes the area hold exactly these files: name → a file on the same file system, which is linked. */
  async hold(files: ReadonlyMap<string, string>): Promise<void> {
    await this.prepare();
    for (const name of await readdir(this.data)) {
      const wanted = files.get(name);
      if (wanted === undefined || !(await sameFile(wanted, join(this.data, name))))
        await rm(join(this.data, name), { recursive: true, force: true });
    }
    this.names.clear();
    this.used = 0;
    for (const [name, path] of files) {
      const { size } = await stat(path);
      await link(path, join(this.data, name)).catch((error: NodeJS.ErrnoException) => {
        if (error.code !== "EEXIST") throw error;
      });
      this.names.add(name.toLowerCase());
      this.used += size;
    }
    for (const [key, { name }] of this.copies) if (!files.has(name)) this.copies.delete(key);
  }

  private async prepare(): Promise<void> {
    await mkdir(this.data, { recursive: true });
    // Whatever the umask: the sandbox's uid must get in.
    await chmod(this.data, 0o755);
  }

  private async stageText(request: StageRequest, run: Run): Promise<Staged> {
    const bytes = Buffer.from(request.text ?? "");
    if (bytes.length > MAX_TEXT_BYTES)
      throw new ClocheError("load.too_large", {
        message: `\`text\` is ${amount(bytes.length)}, and at most ${amount(MAX_TEXT_BYTES)} are taken`,
        hint: "Write it to a file in the project directory and load that.",
      });
    const name = variableName("text.txt", request.name);
    await this.demandRoom(bytes.length);
    const file = this.claim(`${safeFileName(name)}.txt`, bytes.length, run);
    await writeFile(join(this.data, file.name), bytes, { flag: "wx", mode: 0o444 });
    await chmod(join(this.data, file.name), 0o444);
    const sources = [{ path: `${DATA}/${file.name}`, label: "text", size: bytes.length }];
    return { request: { name, ...formatOf(request), sources, directory: false }, notes: [] };
  }

  private async stageFiles(request: StageRequest, run: Run): Promise<Staged> {
    const { name, directory, files, leftOut } = await findCandidates(this.access, request, run.signal);
    run.total = files.reduce((sum, file) => sum + file.size, 0);
    if (this.used + run.total > this.capacity)
      throw new ClocheError("load.too_large", {
        message: `the load takes ${amount(run.total)}, and ${amount(Math.max(0, this.capacity - this.used))} of the session's ${amount(this.capacity)} for loaded files are left`,
        hint: "Reset the session to give up what it has loaded, load a part of it, or raise `disk` in config.json.",
      });
    const sources: LoadRequest["sources"] = [];
    const labels = new Set<string>();
    const notes: string[] = [];
    for (const candidate of files) {
      run.signal.throwIfAborted();
      const shown = unique(label(candidate.shown), (text) => labels.has(text));
      try {
        const file = await this.stageFile(candidate, run);
        labels.add(shown);
        sources.push({ path: `${DATA}/${file.name}`, label: shown, size: file.size });
        run.done += candidate.size;
      } catch (error) {
        // One file of a directory that cannot be had is said; one that was asked for by name is a failure.
        if (candidate.explicit || !(error instanceof ClocheError) || error.code !== "load.refused")
          throw error;
        notes.push(error.message);
      }
    }
    if (notes.length > MAX_NOTES)
      notes.splice(MAX_NOTES, Infinity, `${notes.length - MAX_NOTES} more files were left out`);
    if (sources.length === 0) throw refused(request.path ?? "it", notes[0] ?? "it holds no files to load");
    if (leftOut.size > 0) notes.push(`left out: ${describeLeftOut(leftOut)}`);
    const load: LoadRequest = { name, ...formatOf(request), sources, directory };
    if (Buffer.byteLength(JSON.stringify(load)) > MAX_PAYLOAD_BYTES)
      throw new ClocheError("load.too_large", {
        message: `the names of ${sources.length} files are too long for one load`,
        hint: "Load them in parts, each under its own name.",
      });
    return { request: load, notes };
  }

  /** Copies one file as it was at one moment; tries once more where it changed meanwhile. */
  private async stageFile(candidate: Candidate, run: Run): Promise<StagedFile> {
    for (let attempt = 1; ; attempt++) {
      await using source = await SourceFile.open(this.access, run.links, candidate.path, candidate.shown);
      const file = await this.stageOpened(source, candidate, run);
      if (file) return file;
      if (attempt === 2)
        throw new ClocheError("load.refused", {
          message: `${label(candidate.shown)} changed while it was being copied, twice`,
          hint: "Load it once its writer has finished, or load a copy of it.",
        });
    }
  }

  /** The staged copy, or undefined where the source did not stand still. */
  private async stageOpened(
    source: SourceFile,
    candidate: Candidate,
    run: Run,
  ): Promise<StagedFile | undefined> {
    const head = await source.head(20);
    const sqlite = isSqlite(head);
    const shared = !sqlite || !(await hasSideFiles(source));
    if (isDuckdb(head)) await demandQuietDuckdb(source);
    const key = identityKey(source.identity);
    const known = shared ? (run.fresh.get(key) ?? this.copies.get(key)) : undefined;
    if (known) return known;

    const size = Number(source.identity.size);
    const file = this.claim(safeFileName(candidate.shown), size, run);
    const target = join(this.data, file.name);
    const options: CopyOptions = {
      size,
      signal: run.signal,
      onProgress: (bytes) =>
        run.onProgress({ bytes: Math.min(run.done + bytes, run.total), total: run.total }),
      beforeWriting: () => this.demandRoom(Math.max(size, run.total - run.done)),
    };
    const copied = sqlite
      ? await copySqlite(source, target, this.access, run.links, options)
      : await copyStill(source, target, options);
    if (copied === undefined) {
      await this.release(file, run);
      return undefined;
    }
    this.used += copied - file.size;
    file.size = copied;
    if (isDuckdb(head)) await demandQuietDuckdb(source);
    if (shared) run.fresh.set(key, file);
    return file;
  }

  private claim(wanted: string, size: number, run: Run): StagedFile {
    const name = unique(wanted, (candidate) => this.names.has(candidate.toLowerCase()));
    this.names.add(name.toLowerCase());
    this.used += size;
    const file = { name, size };
    run.made.push(file);
    return file;
  }

  private async release(file: StagedFile, run: Run): Promise<void> {
    await rm(join(this.data, file.name), { force: true });
    run.made.splice(run.made.indexOf(file), 1);
    this.names.delete(file.name.toLowerCase());
    this.used -= file.size;
  }

  /** Asked before the first byte, so that a load never fills the disk. */
  private async demandRoom(needed: number): Promise<void> {
    const free = await freeBytes(this.data);
    if (needed + this.reserve <= free) return;
    throw new ClocheError("load.too_large", {
      message: `the load needs ${amount(needed)} on the disk of Cloche's state, which has ${amount(free)} free`,
      hint: `Free disk space (${amount(this.reserve)} of it stay unused), or load a part of it.`,
      data: { needed, free },
    });
  }
}

async function sameFile(one: string, other: string): Promise<boolean> {
  const [first, second] = await Promise.all([stat(one), stat(other)]);
  return first.ino === second.ino;
}

/** `bytes` of the copy, or undefined, and no file, where the source changed meanwhile. */
async function copyStill(
  source: SourceFile,
  target: string,
  options: CopyOptions,
): Promise<number | undefined> {
  await copyFromDescriptor(source.handle, target, options);
  if (await source.unchanged()) return options.size;
  await rm(target, { force: true });
  return undefined;
}

function formatOf({ format }: StageRequest): { format?: string } {
  return format === undefined ? {} : { format };
}
