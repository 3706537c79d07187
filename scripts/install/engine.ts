// Finds a Docker engine that answers, the way the server does.
import Docker from "dockerode";
import type { Surroundings } from "../../src/config/surroundings.ts";
import { withDeadline } from "../../src/shared/async.ts";

const ANSWER_WITHIN_MS = 5_000;

/** A client of the engine, or undefined where none answers. */
export async function findEngine({ env }: Surroundings): Promise<Docker | undefined> {
  const socketPath = (env.DOCKER_HOST ?? "unix:///var/run/docker.sock").replace("unix://", "");
  const engine = new Docker({ socketPath, timeout: 0 });
  try {
    await withDeadline(engine.ping(), ANSWER_WITHIN_MS, "the Docker engine");
    return engine;
  } catch {
    return undefined;
  }
}
