// Ids that nobody inside a sandbox can guess before they see them.
import { randomBytes } from "node:crypto";

const NONCE_BYTES = 9;
/** Random bytes in store: asking the system for nine at a time costs every cell a twentieth of its time. */
let store = Buffer.alloc(0);

export function nonce(): string {
  if (store.length < NONCE_BYTES) store = randomBytes(256 * NONCE_BYTES);
  const drawn = store.subarray(0, NONCE_BYTES);
  store = store.subarray(NONCE_BYTES);
  return drawn.toString("base64url");
}
