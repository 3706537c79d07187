/**
 * The wire between the host and one sandbox: every message, both directions.
 * `sandbox/cloche_kernel/messages.py` mirrors the constants; `tests/golden/frames.json` holds both to the same bytes.
 *
 * Frame (see framing.ts):
 *
 *     +-------------------+--------------------+---------------------+-----------------+
 *     | u32 header length | u32 payload length | header (JSON, UTF-8)| payload (bytes) |
 *     +-------------------+--------------------+---------------------+-----------------+
 *     lengths big-endian; header 2 to 16,384 bytes; payload 0 to 1,048,576 bytes
 *
 * The header is a flat JSON object with a string `type`. Anything long travels in the payload.
 *
 * Host → sandbox
 * - boot      {version, nonce, carrier, cpus, memory, scratch, watchdog, hostFile?}   once, always on stdio
 * - execute   {id, cell, deaths}              payload: the cell's code
 * - load      {id, cell, deaths}              payload: JSON LoadRequest; a load is a cell like any other
 * - inspect   {id, deaths}                    payload: JSON {name?, offset?, limit}; answered by `answer`
 * - restore   {id, deaths}                    payload: JSON {path} of a RestoreRequest below /cloche; answered by `answer`
 * - recapture {}                              the host has nothing of this session: send all with the next checkpoint
 * - interrupt {id}                            SIGINT to the kernel while cell `id` runs
 * - stack     {id}                            where is cell `id`? answered by `stack`
 * - restart   {id, wipe}                      end every process, fork a fresh kernel; answered by `ready`
 * - pause     {}                              stop every process but the supervisor
 * - resume    {}                              let them go on
 * - reply     {id, ok}                        payload: JSON result or JSON {code, message, hint}
 * - credit    {id, bytes}                     the host consumed so much of call `id`'s body
 * - ping      {}                              the host is alive; without one for 60 s the supervisor exits
 *
 * Sandbox → host
 * - hello     {version, nonce}                payload: JSON Probe; the first frame on whichever carrier serves
 * - ready     {id, python}                    a kernel is there (`id` of the restart, or "boot")
 * - output    {id}                            payload: raw bytes the cell wrote to descriptors 1 and 2
 * - dropped   {id, bytes}                     so many bytes of the middle of the output are gone
 * - progress  {id}                            payload: the last line, while output is being dropped
 * - display   {id, display, mime, body?}      payload: text, or (body) an image of frames `body` follows
 * - body      {id, last}                      payload: the next 262,144 bytes of display or call `id`, or the last, fewer
 * - finished  {id, status}                    payload: JSON CellEnd; exactly one a cell. Just before it the kernel may say
 *                                             `result` {id}, text of a shown value, which the supervisor makes output
 * - answer    {id, ok}                        payload: JSON, to `inspect`
 * - stack     {id}                            payload: the innermost frames, outermost first
 * - call      {id, cell, name, body?}         payload: JSON arguments of a host call
 * - chunk     {cell, name}                    payload: bytes of the state after cell `cell`, named by their hash
 * - checkpoint {cell, last}                   payload: the next piece of a JSON Capture, once for each cell that ended
 * - beside    {cell}                          a process beside the kernel sends that, while the next cell runs: the state
 *                                             after that one comes behind it. Where that process is gone, the kernel says
 *                                             `uncaptured` {cell}, and the supervisor sends a state that failed
 * - exited    {id?, reason}                   the kernel died (`id`: the cell it ran); a fresh one follows: `ready`
 *
 * `id` of a cell, an inspect or a restart is a nonce the host drew; `id` of a call or display is the kernel's own,
 * unique within its cell. `cell` is the number the user sees. `deaths` counts the `exited` that the host has read: what
 * was sent to a kernel that had ended by then does not reach the next one, which holds nothing of the session.
 */
import { z } from "zod";

export const PROTOCOL_VERSION = 1;

/** Largest header, in `bytes`: every header is flat and short, so more is an attack or a bug. */
export const MAX_HEADER_BYTES = 16_384;
/** Largest payload of one frame, in `bytes`: holds the longest cell (see MAX_CODE_BYTES). */
export const MAX_PAYLOAD_BYTES = 1_048_576;
/** Largest piece of a body, in `bytes`: small, so that an interactive frame waits for one piece at most. */
export const MAX_BODY_PIECE_BYTES = 262_144;
/** Bytes of a call's body that may be under way without the host's credit, in `bytes`. */
export const BODY_WINDOW_BYTES = 1_048_576;
/** Largest display body, in `bytes`: a 2,000 px PNG of noise is 16 MB. */
export const MAX_DISPLAY_BYTES = 20_971_520;
/** Largest manifest of one checkpoint, in `bytes`: some 100,000 variables. */
export const MAX_MANIFEST_BYTES = 67_108_864;
/** Displays one cell may send: the kernel sends five images and counts the rest. */
export const MAX_DISPLAYS = 64;
/** Bytes of all displays of one cell, in `bytes`: five images of the largest size. */
export const MAX_CELL_DISPLAY_BYTES = 5 * MAX_DISPLAY_BYTES;
/** Output one cell may send, in `bytes`: the supervisor passes on a fourth and drops what lies between. */
export const MAX_CELL_OUTPUT_BYTES = 4_194_304;
/** Host calls one cell may have under way; the router's quotas are tighter, this bounds memory. */
export const MAX_OPEN_CALLS = 64;
/** Longest code of one cell, in `bytes`. Data does not belong in code: there is `load`. */
export const MAX_CODE_BYTES = 1_000_000;

const id = z.string().min(1).max(64);
const count = z.number().int().min(0).max(Number.MAX_SAFE_INTEGER);

/** What a sandbox may say. Strict, so that a misspelt or smuggled field ends the session with its name. */
export const sandboxMessage = z.discriminatedUnion("type", [
  z.strictObject({ type: z.literal("hello"), version: count, nonce: id }),
  z.strictObject({ type: z.literal("ready"), id, python: z.string().max(64) }),
  z.strictObject({ type: z.literal("output"), id }),
  z.strictObject({ type: z.literal("dropped"), id, bytes: count }),
  z.strictObject({ type: z.literal("progress"), id }),
  z.strictObject({
    type: z.literal("display"),
    id,
    display: id,
    mime: z.string().max(100),
    body: z.boolean().optional(),
  }),
  z.strictObject({ type: z.literal("body"), id, last: z.boolean() }),
  z.strictObject({ type: z.literal("finished"), id, status: z.enum(["ok", "error", "interrupted"]) }),
  z.strictObject({ type: z.literal("answer"), id, ok: z.boolean() }),
  z.strictObject({ type: z.literal("stack"), id }),
  z.strictObject({
    type: z.literal("call"),
    id,
    cell: id,
    name: z.string().max(64),
    body: z.boolean().optional(),
  }),
  z.strictObject({ type: z.literal("chunk"), cell: count, name: z.string().regex(/^[0-9a-f]{32}$/) }),
  z.strictObject({ type: z.literal("checkpoint"), cell: count, last: z.boolean() }),
  z.strictObject({ type: z.literal("beside"), cell: count }),
  z.strictObject({
    type: z.literal("exited"),
    id: id.optional(),
    reason: z.string().max(200),
  }),
]);
export type SandboxMessage = z.infer<typeof sandboxMessage>;

export type HostMessage =
  | {
      type: "boot";
      version: number;
      nonce: string;
      /** path of the unix socket inside the sandbox, or "stdio" */
      carrier: string;
      /** whole processors the kernel's thread pools may use */
      cpus: number;
      /** memory limit in `bytes` */
      memory: number;
      /** most that /scratch may hold, in `bytes` */
      scratch: number;
      /** the supervisor counts memory itself, because no cgroup does */
      watchdog: boolean;
      /** a file that exists on the host and must not be visible inside */
      hostFile?: string;
    }
  | { type: "execute"; id: string; cell: number; deaths: number }
  | { type: "load"; id: string; cell: number; deaths: number }
  | { type: "inspect"; id: string; deaths: number }
  | { type: "restore"; id: string; deaths: number }
  | { type: "recapture" }
  | { type: "interrupt"; id: string }
  | { type: "stack"; id: string }
  | { type: "restart"; id: string; wipe: boolean }
  | { type: "pause" }
  | { type: "resume" }
  | { type: "reply"; id: string; ok: boolean }
  | { type: "credit"; id: string; bytes: number }
  | { type: "ping" };

/** What the supervisor found when it tried to get out (payload of `hello`). */
export const probeReport = z.strictObject({
  /** uid the sandbox runs as */
  uid: count,
  /** what got out or is looser than promised, in words; empty when sealed */
  escapes: z.array(z.string().max(300)).max(50),
  /** names of the environment variables that user code sees */
  environment: z.array(z.string().max(100)).max(100),
});
export type ProbeReport = z.infer<typeof probeReport>;

/** How a cell ended (payload of `finished`). */
export const cellEnd = z.strictObject({
  /** text of the error, trimmed to the user's frames */
  error: z.string().optional(),
  /** name of the exception class */
  errorName: z.string().max(200).optional(),
  /** images beyond the first five, which were not sent */
  imagesLeftOut: count.optional(),
  /** values it made may not be keepable: its state says which */
  suspect: z.boolean().optional(),
});
export type CellEnd = z.infer<typeof cellEnd>;

const digest = z.string().min(1).max(200);
const chunkName = z.string().regex(/^[0-9a-f]{32}$/);
const variableName = z.string().max(10_000);

/** What a session holds after a cell (payload of `checkpoint`, in pieces). */
export const manifest = z.strictObject({
  /** groups of variables that are new, by the names of their chunks */
  groups: z.array(
    z.strictObject({
      digest,
      names: z.array(variableName),
      header: z.array(chunkName),
      buffers: z.array(z.array(chunkName)),
      mentions: z.array(variableName).nullable(),
      bytes: count,
    }),
  ),
  /** digests of all groups */
  members: z.array(digest),
  /** variables that could not be kept */
  lost: z.record(
    variableName,
    z.strictObject({ type: z.string().max(300), reason: z.string().max(500), cell: count }),
  ),
  tokens: z.record(variableName, digest),
  versions: z.record(z.string().max(50), z.string().max(50)),
});
export type Manifest = z.infer<typeof manifest>;

/** What comes of a state: that it is as the last one was, a manifest, or why there is none. */
export const capture = z.union([
  z.strictObject({ same: z.literal(true) }),
  manifest,
  z.strictObject({ failed: z.string().max(2_000) }),
]);
export type Capture = z.infer<typeof capture>;

/** What came of a restore (payload of its `answer`). */
export const restored = z.strictObject({
  /** variables that were bound */
  bound: count,
  /** variables that could not be read back, with the reason */
  failed: z.record(variableName, z.string().max(400)),
  notes: z.array(z.string().max(500)).max(100),
  /** groups that the request takes for granted and that are not there: nothing was done */
  lacking: z.array(digest).max(1_000).optional(),
});
export type Restored = z.infer<typeof restored>;

/** One file of a load, already staged (payload of `load`). */
export interface LoadRequest {
  /** variable to bind */
  name: string;
  /** format named by the caller, else detected */
  format?: string;
  sources: {
    /** absolute path inside the sandbox, under /data */
    path: string;
    /** path as the user wrote it, for messages */
    label: string;
    /** `bytes` */
    size: number;
  }[];
  /** the sources are the files of one directory, whose labels are relative to it */
  directory: boolean;
}
