// Secrets of a host, all with one marker in them: in the environment a client hands over, in the files of a home, in the
// configuration, and in the project beside the data.
import { mkdirSync, writeFileSync } from "node:fs";
import { dirname, join } from "node:path";
import type { Place } from "../e2e/place.ts";

/** Files of the home directory that hold something worth stealing. */
const HOME_FILES = [
  ".aws/credentials",
  ".ssh/id_ed25519",
  ".netrc",
  ".pgpass",
  ".bash_history",
  ".git-credentials",
  ".config/gh/hosts.yml",
  ".claude.json",
  "notes.txt",
];
/** Files of the project that load never reads. */
const PROJECT_FILES = [".env", "config/.env.production", "keys/server.pem", ".git/config", "id_rsa"];
const VARIABLES = [
  "ANTHROPIC_API_KEY",
  "OPENAI_API_KEY",
  "AWS_SECRET_ACCESS_KEY",
  "GITHUB_TOKEN",
  "DATABASE_URL",
  "PGPASSWORD",
  "HTTPS_PROXY",
  "INNOCENT_NAME",
];

/** Paths of the host that the session asks for, from inside and through load. */
export function wanted(place: Place): string[] {
  return [
    ...HOME_FILES.map((name) => join(place.env.HOME!, name)),
    ...PROJECT_FILES.map((name) => join(place.project, name)),
    join(place.env.HOME!, ".docker/config.json"),
    join(place.root, "c/cloche/config.json"),
    join(place.project, ".cloche.json"),
    join(place.root, "outside.txt"),
  ];
}

/** Lays the secrets out; returns what the server's environment holds of them. */
export function layOut(place: Place, marker: string): Record<string, string> {
  const secret = (of: string) => `${marker}-${of.replaceAll(/\W/g, "-")}`;
  for (const name of HOME_FILES) write(join(place.env.HOME!, name), `secret = ${secret(name)}\n`);
  for (const name of PROJECT_FILES) write(join(place.project, name), `SECRET=${secret(name)}\n`);
  write(join(place.root, "outside.txt"), secret("outside"));
  const login = { auth: Buffer.from("user:password").toString("base64"), identitytoken: secret("docker") };
  write(
    join(place.env.HOME!, ".docker/config.json"),
    JSON.stringify({ auths: { "registry.example": login } }),
  );
  place.configure({ idlePauseMinutes: 0.05, $schema: secret("schema"), deny: [`**/${secret("denied")}*`] });
  write(
    join(place.project, ".cloche.json"),
    JSON.stringify({ $schema: secret("project-schema"), deny: [secret("project-denied")] }),
  );
  return {
    ...Object.fromEntries(VARIABLES.map((name) => [name, secret(name)])),
    HTTPS_PROXY: `http://user:${secret("proxy")}@127.0.0.1:9`,
  };
}

function write(path: string, content: string): void {
  mkdirSync(dirname(path), { recursive: true });
  writeFileSync(path, content);
}
