// Docker's attach stream is taken apart rightly however its bytes are cut.
import { expect, test } from "vitest";
import { DockerStreamReader } from "../../src/sandboxes/docker-stream.ts";
import { seeded } from "../seeded.ts";

function record(kind: number, content: Buffer): Buffer {
  const header = Buffer.from([kind, 0, 0, 0, 0, 0, 0, 0]);
  header.writeUInt32BE(content.length, 4);
  return Buffer.concat([header, content]);
}

test.each([1, 2, 3, 4, 5, 6, 7, 8])("any cuts give the same stdout and stderr (seed %i)", (seed) => {
  const random = seeded(seed);
  const records = Array.from({ length: 200 }, () => {
    return { kind: random.pick([1, 1, 2, 3]), content: random.bytes(random.pick([0, 1, 7, 8, 9, 300])) };
  });
  const wire = Buffer.concat(records.map(({ kind, content }) => record(kind, content)));
  const other: Buffer[] = [];
  const reader = new DockerStreamReader((data) => other.push(data));
  const stdout: Buffer[] = [];
  for (let at = 0; at < wire.length; ) {
    const next = Math.min(wire.length, at + 1 + random.integer(random.pick([2, 9, 400])));
    stdout.push(...reader.read(wire.subarray(at, next)));
    at = next;
  }
  const expected = (wanted: (kind: number) => boolean) =>
    Buffer.concat(records.filter(({ kind }) => wanted(kind)).map(({ content }) => content));
  expect(Buffer.concat(stdout).equals(expected((kind) => kind === 1))).toBe(true);
  expect(Buffer.concat(other).equals(expected((kind) => kind !== 1))).toBe(true);
});
