"""What an operator would improvise: a file of signed requests for `curl --parallel`.

Usage: python -m bench.references.curl_parallel BASE_URL AK SK CA_FILE|- FIRST LAST C

It counts the answers that say 0200000 and knows no more of them: which campaign one belongs to,
and what to repeat, is left to the operator. A signature is good for minutes only, so a list that
takes longer cannot be paused in this way at all.
"""

from __future__ import annotations

import subprocess
import sys
import tempfile
from pathlib import Path

from bench.references.signing import PATH, signed


def main(arguments: list[str]) -> int:
    """Pause the campaigns FIRST to LAST; 1 when one of them was not."""
    base, access_key, secret_key, ca_file, first, last, concurrency = arguments
    host = base.split("//")[1]
    ids = range(int(first), int(last) + 1)
    with tempfile.NamedTemporaryFile("w", suffix=".curl") as config:
        for campaign_id in ids:
            path = PATH.format(campaign_id)
            config.write(
                f'url = "{base}{path}"\nrequest = "PUT"\n'
                'header = "Content-Type: application/json; charset=UTF-8"\n'
                f'header = "Authorization: {signed(path, host, access_key, secret_key)}"\n'
            )
            if ca_file != "-":
                config.write(f'cacert = "{ca_file}"\n')
            config.write("next\n" if campaign_id != ids[-1] else "")
        config.flush()
        command = ["curl", "--silent", "--parallel", "--parallel-max", concurrency]
        with Path(config.name).with_suffix(".answers").open("w+b") as answers:
            Path(answers.name).unlink()
            subprocess.run([*command, "--config", config.name], stdout=answers, check=False)
            answers.seek(0)
            paused = answers.read().count(b'"resultCode":"0200000"')
    return int(paused != len(ids))


if __name__ == "__main__":
    raise SystemExit(main(sys.argv[1:]))
