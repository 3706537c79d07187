// A company's network: its CA adds to the public ones, its proxies reach a build, and nothing else of the environment does.
import { mkdtempSync, rmSync, writeFileSync } from "node:fs";
import { tmpdir } from "node:os";
import { join } from "node:path";
import { rootCertificates } from "node:tls";
import { expect, onTestFinished, test } from "vitest";
import {
  allCertificates,
  buildArguments,
  companyCertificates,
  needsHostNetwork,
} from "../../scripts/install/downloads.ts";
import { registryAuth, registryOf } from "../../scripts/install/registry-auth.ts";

function file(name: string, text: string): string {
  const folder = mkdtempSync(join(tmpdir(), "cloche-downloads-"));
  onTestFinished(() => rmSync(folder, { recursive: true }));
  writeFileSync(join(folder, name), text);
  return join(folder, name);
}

test.each(["NODE_EXTRA_CA_CERTS", "SSL_CERT_FILE", "REQUESTS_CA_BUNDLE", "PIP_CERT", "CURL_CA_BUNDLE"])(
  "the CA that %s names is honoured, beside the public ones",
  (variable) => {
    const company = companyCertificates({ [variable]: file("ca.pem", "COMPANY") });
    expect(company).toBe("COMPANY\n");
    expect(allCertificates(company ?? "")).toContain(rootCertificates[0]);
  },
);

test("certificates named twice count once, and a file that is not there counts as none", () => {
  const path = file("ca.pem", "COMPANY");
  expect(companyCertificates({ SSL_CERT_FILE: path, PIP_CERT: path, CURL_CA_BUNDLE: "/no/such" })).toBe(
    "COMPANY\n",
  );
  expect(companyCertificates({ SSL_CERT_FILE: "/no/such" })).toBeUndefined();
});

test("a build sees proxies and pip's mirror, and no secret of the environment", () => {
  const env = {
    HTTPS_PROXY: "http://proxy:3128",
    PIP_INDEX_URL: "https://mirror/simple",
    AWS_SECRET_ACCESS_KEY: "s",
  };
  expect(buildArguments(env)).toEqual({
    https_proxy: "http://proxy:3128",
    HTTPS_PROXY: "http://proxy:3128",
    PIP_INDEX_URL: "https://mirror/simple",
  });
});

test.each([
  [{ https_proxy: "http://127.0.0.1:8080" }, true],
  [{ https_proxy: "http://user:pw@localhost:8080" }, true],
  [{ https_proxy: "http://proxy.example:8080", no_proxy: "localhost,127.0.0.1" }, false],
  [{ PIP_INDEX_URL: "http://localhost:3141/simple" }, true],
])("only something on this machine's loopback needs its network: %j", (args, needed) => {
  expect(needsHostNetwork(args as Record<string, string>)).toBe(needed);
});

test("the login for a private registry is found where docker login leaves it", () => {
  const auth = Buffer.from("ada:pass:word").toString("base64");
  const path = file("config.json", JSON.stringify({ auths: { "mirror.example:5000": { auth } } }));
  expect(registryAuth("mirror.example:5000/python:3.13", join(path, ".."))).toEqual({
    username: "ada",
    password: "pass:word",
    serveraddress: "mirror.example:5000",
  });
  expect(registryAuth("python:3.13", join(path, ".."))).toBeUndefined();
  expect(registryOf("library/python")).toBe("https://index.docker.io/v1/");
});
