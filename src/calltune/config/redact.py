"""`[data.redact]`: which personal details are taken out of rows before anything of them is written."""

import re
from typing import Annotated

import pydantic

from calltune.config.table import Table

SECRET = "secret"
"""The one kind that is calltune's own: tokens, and passwords in addresses. The others are Presidio's entities."""

DEFAULT_KINDS = (
    "email_address",
    "phone_number",
    "credit_card",
    "iban_code",
    "ip_address",
    "mac_address",
    "crypto",
    "us_ssn",
    "us_itin",
    "us_passport",
    "us_bank_number",
    "us_mbi",
    "medical_license",
    "uk_nhs",
    "uk_nino",
    "ca_sin",
    "au_tfn",
    "au_medicare",
    "in_aadhaar",
    "in_pan",
    "sg_nric_fin",
    "es_nif",
    "es_nie",
    "it_fiscal_code",
    "de_tax_id",
    "de_social_security",
    "pl_pesel",
    "fi_personal_identity_code",
    "se_personnummer",
    "kr_rrn",
    SECRET,
)


class RedactConfig(Table):
    """The keys of `[data.redact]`. The same value gets the same stand-in in the whole run."""

    kinds: tuple[str, ...] = DEFAULT_KINDS
    """What is looked for: entities of Presidio's pattern recognisers, in small letters, and `secret`."""

    patterns: dict[Annotated[str, pydantic.Field(pattern=r"^[a-z][a-z0-9_]*$")], str] = pydantic.Field(
        default_factory=dict
    )
    """Kinds of your own: a name, and the regular expression of Python's `re` whose matches are replaced."""

    keep: tuple[str, ...] = ()
    """Values that stay as they are, such as the address of one's own support. `*` stands for any characters."""

    key_env: Annotated[str, pydantic.Field(min_length=1)] | None = None
    """The environment variable with the key of which stand-ins are made. Without it they are made of the run's seed, so
    that who knows seed and code can try out whether a value was in the data."""

    @pydantic.field_validator("patterns")
    @classmethod
    def _can_be_used(cls, patterns: dict[str, str]) -> dict[str, str]:
        for name, pattern in patterns.items():
            try:
                matches_nothing = re.compile(pattern).match("")
            except (re.error, OverflowError, RecursionError) as error:
                raise ValueError(f"'{name}' is no regular expression of Python's: {error}") from None
            if matches_nothing:
                raise ValueError(f"'{name}' matches the empty text, and so everywhere")
            if name == SECRET or name in DEFAULT_KINDS:
                raise ValueError(f"'{name}' is the name of a kind that is there already")
        return patterns
