// What a download needs on a company's network: its CA beside the public ones, its proxies, its package mirror.
import { readFileSync } from "node:fs";
import { rootCertificates } from "node:tls";
import type { Environment } from "../../src/config/surroundings.ts";

/** Variables that name a file of CA certificates; the first one set is what people mean by "our CA". */
const CA_VARIABLES = [
  "NODE_EXTRA_CA_CERTS",
  "SSL_CERT_FILE",
  "REQUESTS_CA_BUNDLE",
  "PIP_CERT",
  "CURL_CA_BUNDLE",
];
const PROXY_VARIABLES = ["http_proxy", "https_proxy", "no_proxy", "ftp_proxy", "all_proxy"];
/** What pip reads and an image build may see; nothing else of the environment goes into one. */
const MIRROR_VARIABLES = ["PIP_INDEX_URL", "PIP_EXTRA_INDEX_URL", "PIP_TRUSTED_HOST"];

/** The certificates of every CA file that is named and readable, as PEM; undefined where none is. */
export function companyCertificates(env: Environment): string | undefined {
  const files = new Set(
    CA_VARIABLES.map((name) => env[name]).filter((path) => path !== undefined && path !== ""),
  );
  const texts = new Set<string>();
  for (const path of files) {
    try {
      texts.add(readFileSync(path as string, "utf8").trim());
    } catch {
      // a variable may name a file that only another machine has
    }
  }
  return texts.size === 0 ? undefined : `${[...texts].join("\n")}\n`;
}

/** Public roots and the company's CA in one: pip replaces its own roots by what PIP_CERT names. */
export function allCertificates(company: string): string {
  return `${rootCertificates.join("\n")}\n${company}`;
}

/** Build arguments for an image: proxies under both spellings, as the engine knows them, and pip's mirror. */
export function buildArguments(env: Environment): Record<string, string> {
  const found: Record<string, string> = {};
  for (const name of PROXY_VARIABLES) {
    const value = env[name] || env[name.toUpperCase()];
    if (value) Object.assign(found, { [name]: value, [name.toUpperCase()]: value });
  }
  for (const name of MIRROR_VARIABLES) if (env[name]) found[name] = env[name];
  return found;
}

/** A proxy on this machine's loopback is out of reach from a build's own network. */
export function needsHostNetwork(args: Record<string, string>): boolean {
  const loopback = /^(\w+:\/\/)?([^@/]*@)?(localhost|127\.|\[::1\])/;
  return Object.entries(args).some(([name, value]) => !/^no_proxy$/i.test(name) && loopback.test(value));
}
