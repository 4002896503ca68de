"""A made-up secret of each rule, put together anew: none stands in a file of this repository."""

from __future__ import annotations

import random
import string

_ANY = string.ascii_letters + string.digits
_HEX = "0123456789abcdef"
_UPPER = string.ascii_uppercase + "234567"


def samples(seed: int = 1) -> dict[str, list[bytes]]:
    """Texts that hold one secret each, by the rule that finds it."""
    chance = random.Random(seed)

    def of(letters: str, count: int) -> str:
        return "".join(chance.choice(letters) for _ in range(count))

    def lines(count: int) -> str:
        return "\n".join(of(_ANY + "+/", 64) for _ in range(count))

    dashes = "-" * 5
    header, footer = f"{dashes}BEGIN %sPRIVATE KEY{dashes}", f"{dashes}END PRIVATE KEY{dashes}"
    body = lines(3)
    escaped = body.replace("\n", "\\n")
    keys = [
        (header % kind) + "\n" + body + "\n" + footer for kind in ("", "RSA ", "EC ", "OPENSSH ")
    ]
    keys.append('{"private_key": "' + (header % "") + "\\n" + escaped + '\\n"}')
    keys.append((header % "RSA ") + "\nProc-Type: 4,ENCRYPTED\nDEK-Info: AES\n\n" + body)
    found = {
        "age-key": ["AGE-SECRET-" + "KEY-1" + of("QPZRY9X8GF2TVDW0S3JN54KHCE6MUA7L", 58)],
        "anthropic-key": ["sk-" + "ant-api03-" + of(_ANY, 93)],
        "atlassian-token": ["ATATT" + "3" + of(_ANY, 180)],
        "aws-access-key": ["AK" + "IA" + of(_UPPER, 16), "AS" + "IA" + of(_UPPER, 16)],
        "aws-secret-key": [
            "aws_secret_access_key = " + of(_ANY, 40),
            '"SecretAccessKey": "' + of(_ANY, 40) + '"',
            "export AWS_SECRET_ACCESS_KEY=" + of(_ANY, 40),
        ],
        "azure-storage-key": ["AccountName=a;Account" + "Key=" + of(_ANY, 86) + "=="],
        "databricks-token": ["da" + "pi" + of(_HEX, 32)],
        "digitalocean-token": ["dop_" + "v1_" + of(_HEX, 64)],
        "discord-webhook": [
            f"https://discord.com/api/webhooks/{of('123456789', 18)}/" + of(_ANY, 68)
        ],
        "docker-token": ["dckr_" + "pat_" + of(_ANY, 27)],
        "github-token": [
            *(f"gh{kind}_" + of(_ANY, 36) for kind in "pousr"),
            "github_" + "pat_" + of(_ANY, 22) + "_" + of(_ANY, 59),
        ],
        "gitlab-token": ["glpat" + "-" + of(_ANY, 20)],
        "google-api-key": ["AI" + "za" + of(_ANY, 35)],
        "google-oauth-secret": ["GOC" + "SPX-" + of(_ANY, 28)],
        "grafana-token": ["gl" + "sa_" + of(_ANY, 32) + "_" + of(_HEX, 8)],
        "groq-key": ["gs" + "k_" + of(_ANY, 52)],
        "huggingface-token": ["h" + "f_" + of(string.ascii_letters, 34)],
        "jwt": [".".join(("ey" + "J" + of(_ANY, 20), "ey" + "J" + of(_ANY, 40), of(_ANY, 43)))],
        "langsmith-key": ["lsv2_" + "pt_" + of(_HEX, 32) + "_" + of(_HEX, 10)],
        "linear-key": ["lin_" + "api_" + of(_ANY, 40)],
        "newrelic-key": ["NR" + "AK-" + of(_UPPER, 27)],
        "npm-token": [
            "np" + "m_" + of(_ANY, 36),
            "//registry.example.org/:_auth" + "Token=" + of(_HEX, 36),
        ],
        "openai-key": [
            "sk-" + "proj-" + of(_ANY, 74) + "T3Blbk" + "FJ" + of(_ANY, 74),
            "sk-" + of(_ANY, 20) + "T3Blbk" + "FJ" + of(_ANY, 20),
        ],
        "perplexity-key": ["pp" + "lx-" + of(_ANY, 48)],
        "postman-key": ["PM" + "AK-" + of(_HEX, 24) + "-" + of(_HEX, 34)],
        "private-key": keys,
        "pulumi-token": ["pu" + "l-" + of(_HEX, 40)],
        "pypi-token": ["py" + "pi-AgEIcHlwaS5vcmc" + of(_ANY, 120)],
        "rubygems-key": ["ruby" + "gems_" + of(_HEX, 48)],
        "sendgrid-key": ["S" + "G." + of(_ANY, 22) + "." + of(_ANY, 43)],
        "shopify-token": ["sh" + "pat_" + of(_HEX, 32)],
        "slack-token": [
            "xo" + "xb-" + of("123456789", 12) + "-" + of("123456789", 12) + "-" + of(_ANY, 24),
            "xa" + "pp-1-A" + of(_UPPER, 10) + "-" + of("123456789", 13) + "-" + of(_HEX, 64),
        ],
        "slack-webhook": [
            f"https://hooks.slack.com/services/T{of(_UPPER, 8)}/B{of(_UPPER, 8)}/" + of(_ANY, 24)
        ],
        "stripe-key": ["sk_" + "live_" + of(_ANY, 24), "rk_" + "live_" + of(_ANY, 24)],
        "stripe-webhook-secret": ["wh" + "sec_" + of(_ANY, 32)],
        "supabase-token": ["sb" + "p_" + of(_HEX, 40)],
        "terraform-token": [of(_ANY, 14) + ".atlas" + "v1." + of(_ANY, 64)],
        "url-password": [
            f"postgres://svc:{of(_ANY, 14)}@db7.corp.net:5432/app",
            f"mongodb+srv://app:{of(_ANY, 12)}!@cluster0.mongodb.net/",
            f"redis://:{of(_ANY, 20)}@cache.internal:6379",
            f"https://bot:{of(_ANY, 20)}@git.corp.net/repo.git",
        ],
        "vault-token": ["hv" + "s." + of(_ANY, 24)],
        "xai-key": ["xa" + "i-" + of(_ANY, 80)],
    }
    return {rule: [text.encode() for text in texts] for rule, texts in found.items()}


def one(rule: str = "github-token", seed: int = 1) -> bytes:
    """One secret of a rule."""
    return samples(seed)[rule][0]
