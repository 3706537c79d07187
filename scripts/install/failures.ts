// What pip and registries write when something cannot be had, as one sentence for the person who asked for it.

/** Characters of somebody else's message that are repeated. */
const CLIP = 200;

/** `error` with a sentence in front that names the package, where pip's output names one. */
export function explained(error: unknown): unknown {
  const { message } = error as Error;
  const reason = pipFailure(message);
  if (reason === undefined) return error;
  // The line about versions that other Pythons would take names every one of them.
  const own = message
    .split("\n")
    .map((line) => line.trim())
    .filter((line) => line.startsWith("ERROR: ") && !line.startsWith("ERROR: Ignored "))
    .map((line) => `  pip: ${line.slice(0, CLIP)}`);
  return new Error([reason, ...own.slice(-3)].join("\n"), { cause: error });
}

/** Which package pip could not bring and what to do, or undefined where its output names none. */
export function pipFailure(output: string): string | undefined {
  const missing = /No matching distribution found for (.+?)\s*(?:\(from .*)?$/m.exec(output)?.[1];
  if (missing !== undefined) {
    const network = /Retrying|Connection|ProxyError|SSLError|CERTIFICATE/.test(output);
    return network
      ? `${missing} cannot be fetched, because pip does not reach its index. Check the network and proxy settings (https_proxy, PIP_INDEX_URL, PIP_CERT), then run this again.`
      : `${missing} cannot be had for this Python: no package of that name and version is in pip's index. Correct it in the file given to --packages, then run this again.`;
  }
  const invalid = /Invalid requirement: ['"](.+?)['"]/.exec(output)?.[1];
  if (invalid !== undefined)
    return `"${invalid}" is no requirement that pip understands. Correct it in the file given to --packages, then run this again.`;
  const conflict = /Cannot install (.+?) because these package versions have conflicting dependencies/.exec(
    output,
  )?.[1];
  if (conflict !== undefined)
    return `${conflict} cannot be installed together. Loosen a version in the file given to --packages, then run this again.`;
  const unbuilt =
    /Failed (?:to build|building wheel for) (?:installable wheels for some pyproject.toml based projects \()?([\w.-]+)/.exec(
      output,
    )?.[1];
  if (unbuilt !== undefined)
    return `${unbuilt} has no ready-made build for this Python, and building it failed. Name a version that has one in the file given to --packages, then run this again.`;
  return undefined;
}

/** Why an image could not be pulled, as a clause. */
export function pullFailure(message: string): string {
  if (/unauthorized|denied|authentication required|no basic auth/i.test(message))
    return "its registry has no such image, or asks for a login (docker login)";
  if (/not found|manifest unknown|repository does not exist/i.test(message))
    return "its registry has no such image";
  if (/x509|certificate|tls:/i.test(message)) return "the engine does not trust its registry's certificate";
  if (/no such host|dial tcp|timeout|refused|unreachable|proxyconnect|reset by peer|EOF/i.test(message))
    return "the engine does not reach its registry";
  const plain = message
    .replace(/^\(HTTP code \d+\) [\w ]+ - /, "")
    .replace(/\s+/g, " ")
    .trim();
  return plain.length > CLIP ? `${plain.slice(0, CLIP)}…` : plain;
}
