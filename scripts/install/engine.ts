// Finds the Docker engine that the server would use.
import type Docker from "dockerode";
import { resolveConfig } from "../../src/config/config.ts";
import { dockerEnvironment, type Surroundings } from "../../src/config/surroundings.ts";
import { connectEngine } from "../../src/sandboxes/docker-connection.ts";
import { asClocheError, type ClocheError } from "../../src/shared/errors.ts";

/** An engine that answers, or why there is none. */
export type FoundEngine = { docker: Docker; problem?: never } | { docker?: never; problem: ClocheError };

export async function findEngine(surroundings: Surroundings, project: string): Promise<FoundEngine> {
  try {
    return { docker: (await connectEngine(environment(surroundings, project))).docker };
  } catch (error) {
    return { problem: asClocheError(error) };
  }
}

/** The settings may name the engine; where they cannot be read, the environment still does. */
function environment(surroundings: Surroundings, project: string) {
  try {
    return resolveConfig({ project }, surroundings).docker;
  } catch {
    return dockerEnvironment(surroundings);
  }
}
