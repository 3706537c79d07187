// The host's own sums over what it keeps, so that damage is found before it is given out.
import { createHash } from "node:crypto";
import type { Covariable } from "./checkpoints.ts";

export function sha256(data: Uint8Array | string): Buffer {
  return createHash("sha256").update(data).digest();
}

/** A group of variables as its row holds it. */
export interface CovariableRow {
  digest: string;
  description: string;
  sha256: Buffer;
  bytes: number;
}

export function toRow({ digest, bytes, ...rest }: Covariable): CovariableRow {
  const description = JSON.stringify(rest);
  return { digest, description, sha256: sha256(description), bytes };
}

/** Undefined where the row is not what it was. */
export function fromRow(row: CovariableRow): Covariable | undefined {
  if (!sha256(row.description).equals(row.sha256)) return undefined;
  const rest = JSON.parse(row.description) as Omit<Covariable, "digest" | "bytes">;
  return { ...rest, digest: row.digest, bytes: row.bytes };
}

/** Names of all chunks of a group. */
export function chunksOf({ header, buffers }: Covariable): string[] {
  return [...header, ...buffers.flat()];
}
