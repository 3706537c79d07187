// The person's word that one project's .cloche.json may widen: recorded for its real path and exact content.
import { createHash } from "node:crypto";
import { mkdirSync, readFileSync, rmSync } from "node:fs";
import { dirname } from "node:path";
import { z } from "zod";
import { writeAtomically } from "../shared/atomic-write.ts";

const trustRecord = z.object({ project: z.string(), sha256: z.string(), trustedAt: z.string() });
export type TrustRecord = z.infer<typeof trustRecord>;

/** SHA-256 of a settings file's bytes, in hex. */
export function contentHash(bytes: Buffer): string {
  return createHash("sha256").update(bytes).digest("hex");
}

/** The record at `path`, or undefined where there is none that can be read. */
export function readTrust(path: string): TrustRecord | undefined {
  try {
    return trustRecord.parse(JSON.parse(readFileSync(path, "utf8")));
  } catch {
    return undefined;
  }
}

/** Was exactly this content trusted for exactly this project? */
export function isTrusted(path: string, project: string, bytes: Buffer): boolean {
  const record = readTrust(path);
  return record?.project === project && record.sha256 === contentHash(bytes);
}

/** Trusts the content that was shown, by its hash: a file that has changed since is not trusted. */
export function recordTrust(path: string, project: string, sha256: string, now = new Date()): void {
  const record: TrustRecord = { project, sha256, trustedAt: now.toISOString() };
  mkdirSync(dirname(path), { recursive: true, mode: 0o700 });
  writeAtomically(path, `${JSON.stringify(record, null, 2)}\n`, 0o600);
}

export function revokeTrust(path: string): void {
  rmSync(path, { force: true });
}
