import { describe, expect, it } from "vitest";
import { Denylist } from "../../src/staging/denylist.ts";

const HOME = "/home/u";
const denylist = new Denylist(
  HOME,
  ["*.private", "vault/**", "~/taxes", "/srv/x/y*"],
  ["/home/u/.local/state/c"],
);
/** The project is /home/u/p: three components. */
const match = (path: string) => denylist.match(path.startsWith("/") ? path : `/home/u/p/${path}`, 3);

const DENIED = `
.env .ENV .env.local .envrc prod.env sub/.Env.Production .flaskenv
server.pem SERVER.PEM tls.key store.p12 store.pfx app.jks passwords.kdbx putty.ppk client.ovpn
id_rsa id_rsa.pub ID_RSA.bak id_ed25519 deploy/id_ecdsa
/home/u/.ssh/config /home/u/.SSH/known_hosts .aws/config .aws/sso/cache/x.json .gnupg/pubring.kbx .kube/config
.docker/config.json .azure/azureProfile.json .config/gcloud/configurations/config_default .config/gh/hosts.yml
.netrc _netrc .npmrc .pypirc .git-credentials .gitconfig .pgpass .my.cnf .s3cfg .boto .databrickscfg .condarc
.git/config .git/objects/ab/cd sub/.git/HEAD .hg/hgrc
credentials credentials.json credentials-prod.json my-credentials.json gcp_credentials.json credentials.csv .credentials.json
service-account.json service_account_prod.json client_secret_123.apps.json application_default_credentials.json
terraform.tfstate terraform.tfstate.backup prod.tfvars secrets.yml secrets.yaml SECRETS.YML secrets.toml secrets.prod.yaml app-secrets.yaml
.streamlit/secrets.toml .bash_history .zsh_history .python_history .psql_history .bashrc .zshrc .profile .bash_profile .zshenv
.mozilla/firefox/x/cookies.sqlite .config/google-chrome/Default/Cookies .config/chromium/Default .local/share/keyrings/login.keyring
/home/u/.config/google-chrome-beta/x login.keychain-db logins.json kaggle.json .kaggle/kaggle.json accessKeys.csv user_accessKeys.csv
.cloche.json .mcp.json .claude/settings.local.json .claude.json claude_desktop_config.json /home/u/.config/cloche/config.json
/home/u/.local/state/c/projects/x /home/u/.local/state/cloche/logs/cloche.jsonl .vault-token .htpasswd
/proc/self/environ /sys/kernel/x /dev/mem /etc/shadow /etc/shadow- /run/secrets/db /dev/fd/3
notes.private deep/er/NOTES.PRIVATE vault/a/b.csv sub/vault/c.csv /home/u/taxes/2024.csv /srv/x/yes.csv
.ſsh/known_hosts .ｅnv
`;

const ALLOWED = `
keyboard.csv key.csv keys.parquet monkey.csv environment.csv environments.json env.csv my.env.csv envelope.json
token_counts.csv tokens.parquet api_keys_usage.parquet pem_results.csv kube_metrics.json docker.csv aws_costs.csv
ssh_attacks.csv git_log.txt .gitignore secretary.json secrets_of_success.txt secret_santa.csv the_secret_garden.txt
credentials_survey.parquet teacher_credentials.csv passwords.csv cookies.csv login.csv logins.csv profile.csv
history.csv bash_history_study.csv config.json config.yaml settings.json id.csv ids_rsa.csv rsa.csv identity.csv
tfstate.csv terraform.csv serviceaccounts.csv service.csv accounts.json chrome.csv firefox_history.csv browser/google/x.csv
data.db chinook.sqlite model.h5 key_metrics.xlsx public.gpg elevation.asc netrc.csv npm_downloads.csv pypirc.txt
shadow.csv proc/self.csv dev/a.csv sys/b.csv vaults/c.csv privates.csv /dev/shm/data.csv /srv/x/z.csv
keynote.pdf .github/workflows/ci.yml cloche-out/report.csv
`;

const list = (text: string) => text.split(/\s+/).filter(Boolean);

describe("the denylist", () => {
  it.each(list(DENIED))("keeps out %s", (path) => {
    expect(match(path)).toBeTypeOf("string");
  });

  it.each(list(ALLOWED))("lets pass %s", (path) => {
    expect(match(path)).toBeUndefined();
  });

  it("judges file names only below the project, so that its own folder may have any", () => {
    expect(denylist.match("/home/u/.environments/a.csv", 3)).toBeUndefined();
    expect(denylist.match("/home/u/.environments/.env", 3)).toBeTypeOf("string");
  });

  it("keeps credential directories out even where the root lies within one", () => {
    expect(denylist.match("/home/u/.aws/data/a.csv", 4)).toBeTypeOf("string");
  });

  it("names the pattern of the configuration that denied", () => {
    expect(match("notes.private")).toContain("*.private");
  });

  it("judges 1,000 paths in time", () => {
    const started = performance.now();
    for (let i = 0; i < 1000; i++) match(`a/b/c/d/e/f/g/file-${i}.parquet`);
    expect(performance.now() - started).toBeLessThan(2_000);
  });
});
