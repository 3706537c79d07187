// What is never loaded, wherever it lies and however it is spelled: the built-in rules, and how a path meets them.
// `directories` hold in every component of a path, `files` only below the project or root, so that a project whose
// own folder is called `.environments` stays usable. Every rule covers what lies beneath a match, in any letter case.
import { expandBraces, Glob } from "./glob.ts";

interface Rule {
  /** what the reader is told, after "it is" or "they are" */
  what: string;
  directories?: string[];
  files?: string[];
}

const RULES: Rule[] = [
  {
    what: "keys or certificates with keys",
    directories: [".ssh", ".gnupg", ".pki"],
    files: [
      "*.{pem,key,p12,pfx,pkcs12,p8,pk8,ppk,jks,jceks,bks,keystore,keytab,ovpn,agekey}",
      "id_{rsa,dsa,ecdsa,ed25519,xmss}*",
      "krb5cc_*",
      "secring.gpg",
    ],
  },
  {
    what: "environment files with secrets",
    files: [".env*", "*.env", ".flaskenv", ".dev.vars", ".direnv"],
  },
  {
    what: "cloud credentials and configuration",
    directories: [
      ".aws",
      ".azure",
      ".kube",
      ".docker",
      ".oci",
      ".aliyun",
      ".bluemix",
      ".snowflake",
      ".snowsql",
      ".dbt",
      ".kaggle",
      ".huggingface",
      ".fly",
      ".vercel",
      ".netlify",
      ".wrangler",
      ".supabase",
      ".terraform.d",
      ".config/{gcloud,gh,glab-cli,hub,doctl,op,rclone,heroku,configstore,.wrangler,sops,containers,linode-cli}",
    ],
    files: [
      "application_default_credentials.json",
      "service[-_]account*.json",
      "client_secret*.json",
      "kubeconfig*",
      "*.kubeconfig",
      ".dockercfg",
      ".dockerconfigjson",
      ".s3cfg",
      ".boto",
      ".passwd-s3fs",
      ".databrickscfg",
      "kaggle.json",
      "rclone.conf",
      "*.tfstate",
      "*.tfstate.*",
      "*.tfvars",
      "*.tfvars.json",
      ".terraformrc",
      "{,*[-_]}accesskeys.csv",
      "rootkey.csv",
      "new_user_credentials.csv",
      "huggingface/token",
    ],
  },
  {
    what: "passwords, tokens or credentials",
    directories: [".password-store", ".1password", ".bitwarden", ".lastpass"],
    files: [
      "credentials",
      ".credentials*",
      "credentials*.json",
      "*[-_.]credentials.json",
      "credentials.{csv,yml,yaml,toml,ini,cfg,conf,xml,txt,properties,db,enc,tfrc.json}",
      "{secret,secrets,.secret,.secrets}",
      "{secret,secrets,.secret,.secrets}.{yml,yaml,json,toml,ini,cfg,conf,env,xml,txt,properties,enc}",
      "{secret,secrets}[-_.]*.{yml,yaml}",
      "*[-_.]{secret,secrets}.{yml,yaml,json,toml}",
      "{.,_}netrc",
      ".npmrc",
      ".yarnrc{,.yml}",
      ".pypirc",
      "pip.conf",
      ".condarc",
      ".pgpass",
      "pgpass.conf",
      ".pg_service.conf",
      ".my.cnf",
      ".mylogin.cnf",
      ".htpasswd",
      ".vault-token",
      ".vault{_,-}pass*",
      ".cargo/credentials.toml",
      ".gem/credentials",
      ".m2/settings*.xml",
      ".gradle/gradle.properties",
      ".composer/auth.json",
      "wallet.dat",
      "*.{kdbx,kdb,opvault,agilekeychain,keychain,keychain-db}",
    ],
  },
  {
    what: "part of a version-control directory or its credentials",
    directories: [".git", ".hg", ".svn"],
    files: [".git-credentials", ".gitconfig", ".config/git/*", ".hgrc"],
  },
  {
    what: "shell history or start-up files",
    files: [
      ".*history",
      "fish_history",
      ".{bash,zsh}_*",
      ".{bash,zsh,ksh,csh,tcsh,xonsh}rc",
      ".{profile,login,logout,zshenv,zprofile,zlogin,zlogout,bash_profile,viminfo,lesshst,histfile,wget-hsts}",
      ".config/fish/*",
    ],
  },
  {
    what: "a browser's, mail program's or key ring's own data",
    directories: [
      ".mozilla",
      ".thunderbird",
      ".config/{google-chrome*,chromium,BraveSoftware,microsoft-edge*,vivaldi,opera,Bitwarden*,1Password,Signal,Slack}",
      ".local/share/{keyrings,kwalletd}",
      ".gnome2/keyrings",
      "Library/{Keychains,Cookies,Safari,Mail,Messages}",
      "Library/Application Support/{Google,Chromium,BraveSoftware,Microsoft Edge,Firefox,Vivaldi,1Password,Signal,Slack}",
      "AppData/Local/{Google,Chromium,BraveSoftware,Microsoft}",
      "AppData/Roaming/{Mozilla,Microsoft}",
    ],
    files: ["logins.json", "key{3,4}.db", "cookies.sqlite", "Login Data"],
  },
  {
    what: "configuration of Cloche or of Claude",
    directories: [".config/cloche", ".local/state/cloche"],
    files: [
      ".cloche.json",
      ".mcp.json",
      ".claude.json",
      ".claude/settings*.json",
      "claude_desktop_config.json",
    ],
  },
];

/** Trees of the system that are no data, as absolute paths. `/dev/shm` holds ordinary files. */
const SYSTEM = ["/proc", "/sys", "/dev", "/run/secrets", "/run/credentials", "/etc/ssl/private"];
const SYSTEM_FILES = ["/etc/shadow*", "/etc/gshadow*", "/etc/sudoers*", "/etc/master.passwd"];

interface Compiled {
  what: string;
  /** where the match starts: at the file system's root, anywhere, or anywhere below the project or root */
  from: "start" | "anywhere" | "below";
  glob: Glob;
}

/** A name as every file system that ignores letter case or Unicode form may see it. */
export function foldCase(text: string): string {
  return text.normalize("NFKC").toLowerCase();
}

export class Denylist {
  private readonly names = new Map<string, { what: string; from: Compiled["from"] }>();
  private readonly globs: Compiled[] = [];

  /**
   * `extra` are globs of the configuration (relative ones hold anywhere), `own` absolute directories of Cloche,
   * `origin` says where `extra` stands.
   */
  constructor(home: string, extra: readonly string[] = [], own: readonly string[] = [], origin = "") {
    for (const { what, directories = [], files = [] } of RULES) {
      for (const pattern of directories) this.add(pattern, what, "anywhere");
      for (const pattern of files) this.add(pattern, what, "below");
    }
    for (const path of [...SYSTEM, ...SYSTEM_FILES]) this.add(path, "part of the operating system", "start");
    for (const path of own) this.add(literal(path), "part of Cloche's own directories", "start");
    for (const pattern of extra) {
      const expanded = pattern.startsWith("~/") ? literal(home) + pattern.slice(1) : pattern;
      this.add(
        expanded,
        `denied by the pattern ${pattern} of \`deny\`${origin && ` in ${origin}`}`,
        expanded.startsWith("/") ? "start" : "below",
      );
    }
  }

  /** What rule, in words, keeps the absolute `path` out; `depth` components of it are the project or root. */
  match(path: string, depth: number): string | undefined {
    const parts = foldCase(path)
      .split("/")
      .filter((part) => part !== "");
    if (parts[0] === "dev" && parts[1] === "shm" && parts.length > 2) parts.splice(0, 2, "shm");
    const below = parts.slice(depth);
    for (const [index, part] of parts.entries()) {
      const rule = this.names.get(part);
      if (rule && (rule.from === "anywhere" || index >= depth)) return rule.what;
    }
    return this.globs.find(({ from, glob }) => glob.matches(from === "below" ? below : parts))?.what;
  }

  private add(pattern: string, what: string, from: Compiled["from"]): void {
    for (const single of expandBraces(foldCase(pattern))) {
      if (from !== "start" && !/[/*?[\\]/.test(single)) this.names.set(single, { what, from });
      else {
        const reach = from === "start" ? `${single}/**` : `**/${single}/**`;
        this.globs.push({ what, from, glob: new Glob(reach, { hidden: true }) });
      }
    }
  }
}

function literal(path: string): string {
  return path.replace(/[*?[\]{}\\]/g, "\\$&");
}
