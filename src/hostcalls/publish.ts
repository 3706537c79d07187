// The host call `publish`: a file leaves the sandbox, and goes where the artifact store keeps such files.
import { z } from "zod";
import type { ArtifactStore } from "../artifacts/store.ts";
import { ClocheError } from "../shared/errors.ts";
import { defineHostCall, type HostCall } from "./host-call.ts";

const schema = z.strictObject({
  /** file name on the host; the store says which names it takes */
  name: z.string().max(1_000),
});

export function publishCall(store: ArtifactStore): HostCall<never> {
  return defineHostCall({
    name: "publish",
    schema,
    async handle({ name }, { body, signal, log, tell }) {
      if (!body)
        throw new ClocheError("publish.refused", { message: "publish came without the file's content" });
      const artifact = await store.put(name, body, signal);
      const { path, bytes } = artifact;
      log.info("publish", { path, bytes });
      tell(`Published ${path} (${bytes.toLocaleString("en-US")} ${bytes === 1 ? "byte" : "bytes"})`);
      return artifact;
    },
  });
}
