// What a private registry asks for before it hands out the base image: read where `docker login` leaves it.
import { spawnSync } from "node:child_process";
import { readFileSync } from "node:fs";
import { join } from "node:path";

export interface RegistryAuth {
  username: string;
  password: string;
  serveraddress: string;
}

interface DockerConfig {
  auths?: Record<string, { auth?: string }>;
  credsStore?: string;
  credHelpers?: Record<string, string>;
}

const DOCKER_HUB = "https://index.docker.io/v1/";

/** The registry that serves an image's name: the part before the first slash, if it looks like a host. */
export function registryOf(image: string): string {
  const first = image.split("/")[0] ?? "";
  return image.includes("/") && /[.:]|^localhost$/.test(first) ? first : DOCKER_HUB;
}

/** The person's login for the image's registry, or undefined where there is none. */
export function registryAuth(image: string, dockerConfig: string): RegistryAuth | undefined {
  const registry = registryOf(image);
  let config: DockerConfig;
  try {
    config = JSON.parse(readFileSync(join(dockerConfig, "config.json"), "utf8")) as DockerConfig;
  } catch {
    return undefined;
  }
  const helper = config.credHelpers?.[registry] ?? config.credsStore;
  if (helper) {
    const asked = spawnSync(`docker-credential-${helper}`, ["get"], {
      input: registry,
      encoding: "utf8",
      timeout: 15_000,
    });
    if (asked.status === 0) {
      const { Username, Secret } = JSON.parse(asked.stdout) as { Username: string; Secret: string };
      return { username: Username, password: Secret, serveraddress: registry };
    }
  }
  const stored = (config.auths?.[registry] ?? config.auths?.[`https://${registry}`])?.auth;
  if (!stored) return undefined;
  const [username = "", ...password] = Buffer.from(stored, "base64").toString("utf8").split(":");
  return { username, password: password.join(":"), serveraddress: registry };
}
