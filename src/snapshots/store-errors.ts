// SQLite's and the file system's failures as Cloche's own: what happened to which file, and what the person can do.
import { ClocheError, type ErrorCode } from "../shared/errors.ts";

/** `cause` as a ClocheError about the file at `path`, with the statement that failed where there is one. */
export function storeError(cause: unknown, path: string, statement?: string): ClocheError {
  if (cause instanceof ClocheError) return cause;
  const code = String((cause as { code?: unknown })?.code ?? "");
  const [kind, what] = classify(code);
  const text = cause instanceof Error ? cause.message : String(cause);
  return new ClocheError(kind, {
    message: `the session record ${path} ${what} (${text})`,
    data: { path, code, ...(statement ? { statement } : {}) },
    cause,
  });
}

function classify(code: string): [ErrorCode, string] {
  if (code === "SQLITE_FULL" || code === "ENOSPC" || code === "EDQUOT" || code === "SQLITE_IOERR_SHMSIZE")
    return ["store.full", "cannot grow, because the disk is full"];
  if (/^SQLITE_IOERR_(\w*LOCK|SHM\w*)$/.test(code))
    return ["store.readonly", "lies on a file system without file locks"];
  if (
    /^SQLITE_(READONLY|CANTOPEN|PERM|AUTH)/.test(code) ||
    /^(EACCES|EPERM|EROFS|ENOTDIR|ENOENT)$/.test(code)
  )
    return ["store.readonly", "cannot be opened for writing"];
  if (/^SQLITE_(BUSY|LOCKED|PROTOCOL)/.test(code)) return ["store.busy", "stayed locked by another server"];
  if (/^SQLITE_(CORRUPT|NOTADB|FORMAT)/.test(code)) return ["store.damaged", "is damaged"];
  if (/^SQLITE_IOERR/.test(code))
    return ["store.damaged", "cannot be read or written, because the disk failed"];
  return ["internal", "refused a statement"];
}
