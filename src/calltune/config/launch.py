"""`[launch]`: on how many processes and machines a run is trained and evaluated, here or on Amazon SageMaker."""

import re
from typing import Annotated, Any, Literal, Self

import pydantic

from calltune.config.table import Table
from calltune.errors import ConfigError

InstanceType = Annotated[str, pydantic.Field(pattern=r"^ml\.[a-z0-9-]+\.[a-z0-9]+$")]

RoleArn = Annotated[str, pydantic.Field(pattern=r"^arn:aws[a-z-]*:iam::\d{12}:role/")]

PlanArn = Annotated[str, pydantic.Field(pattern=r"^arn:aws[a-z-]*:sagemaker:[a-z0-9-]*:\d{12}:training-plan/")]

MlflowArn = Annotated[str, pydantic.Field(pattern=r"^arn:aws[a-z-]*:sagemaker:[a-z0-9-]*:\d{12}:mlflow-")]

Requirement = Annotated[
    str, pydantic.Field(pattern=r"^[A-Za-z0-9][A-Za-z0-9._-]*(\[[A-Za-z0-9,._-]+\])?==[A-Za-z0-9.!+_-]+$")
]

_SECRET_ARN = re.compile(r"arn:aws[a-z-]*:secretsmanager:[a-z0-9-]+:\d{12}:secret:\S+")

# Set by the platform, or by calltune for the container's entry point.
_NOT_YOURS = re.compile(r"(CALLTUNE|TRAINING_JOB|SM)_.*|PYTHONPATH|PYTHONUNBUFFERED|TOKENIZERS_PARALLELISM")

OUR_TAGS = ("calltune-run", "calltune-stage")
"""By these a run's jobs are found."""


class DeployConfig(Table):
    """`[launch.sagemaker.deploy]`: the endpoint that `calltune deploy` makes of the exported model."""

    instance_type: InstanceType
    """A machine with a GPU."""

    instance_count: Annotated[int, pydantic.Field(ge=1, le=64)] = 1
    """Machines that answer, each with the whole model."""

    image: Annotated[str, pydantic.Field(pattern=r"^\S+$", max_length=255)] | None = None
    """An image that takes vLLM's flags as `SM_VLLM_...`; by default AWS's own vLLM for the region."""

    max_model_len: Annotated[int, pydantic.Field(ge=1)] | None = None
    """The most tokens of a prompt and its answer together; by default what the model knows, and the GPU may lack the
    memory for that."""

    price_per_hour: Annotated[float, pydantic.Field(gt=0)] | None = None
    """US dollars for one of these machines."""


class SageMakerConfig(Table):
    """`[launch.sagemaker]`."""

    role: RoleArn
    """What the jobs may do; `docs/sagemaker.md` has its policy."""

    bucket: Annotated[str, pydantic.Field(pattern=r"^[a-z0-9][a-z0-9.-]{1,61}[a-z0-9]$")]
    prefix: Annotated[str, pydantic.Field(pattern=r"^[A-Za-z0-9][A-Za-z0-9._/-]*[A-Za-z0-9]$")] = "calltune"
    """All of a run lies under `s3://bucket/prefix/<name>/`."""

    region: Annotated[str, pydantic.Field(pattern=r"^[a-z]{2,4}(-[a-z]+)+-\d$")]
    image: Annotated[str, pydantic.Field(pattern=r"^\S+$", max_length=255)] | None = None
    """An image with Python and torch; by default AWS's own for the region and the kind of machine."""

    requirements: tuple[Requirement, ...] = ()
    """Further packages for the jobs, each as `name==version`: what a benchmark of your own imports, for instance."""

    environment: dict[str, str] = pydantic.Field(default_factory=dict)
    """Variables of the jobs, such as `PIP_INDEX_URL`. Everybody who may look at a job reads them: no secrets."""

    instance_type: InstanceType | Annotated[tuple[InstanceType, ...], pydantic.Field(min_length=1, max_length=5)]
    """One, or up to five: the first that there is capacity for is taken."""

    instance_count: Annotated[int, pydantic.Field(ge=1, le=256)] = 1
    """Machines that train together, `launch.processes` on each. Evaluation uses one."""

    encrypt_traffic: bool = False
    """Encrypts what machines that train together say to each other, which then takes longer."""

    volume_gb: Annotated[int, pydantic.Field(ge=1, le=16_384)] = 100
    """Of each machine; a type with disks of its own uses all of those instead."""

    max_runtime_hours: Annotated[float, pydantic.Field(gt=0, le=28 * 24)] = 24
    """Of each job; one that needs more is ended, and goes on from its checkpoint when it is run again."""

    spot: bool = False
    """Spare machines, cheaper, which AWS may take back at any time."""

    max_wait_hours: Annotated[float, pydantic.Field(gt=0, le=30 * 24)] | None = None
    """With `spot`: bound of waiting and running together; by default twice `max_runtime_hours`."""

    max_pending_hours: Annotated[float, pydantic.Field(ge=0.5, le=28 * 24)] | None = None
    """How long a job may wait for its machines; by default as long as SageMaker waits."""

    keep_alive_minutes: Annotated[int, pydantic.Field(ge=0, le=360)] = 0
    """How long the machine stays, and is paid, after a job, so that the next one starts at once."""

    training_plan: PlanArn | None = None
    subnets: Annotated[tuple[str, ...], pydantic.Field(max_length=16)] = ()
    security_groups: Annotated[tuple[str, ...], pydantic.Field(max_length=5)] = ()
    """Both or neither; the jobs then run in your own network, which must reach S3, PyPI and, for models, the Hub."""

    kms_key: Annotated[str, pydantic.Field(pattern=r"^[A-Za-z0-9:/_-]+$")] | None = None
    """Encrypts what is sent and what the jobs make, and the volumes of machines without disks of their own."""

    tags: dict[str, str] = pydantic.Field(default_factory=dict)
    price_per_hour: Annotated[float, pydantic.Field(gt=0)] | None = None
    """US dollars for one machine; with several instance types, that of the dearest."""

    max_usd: Annotated[float, pydantic.Field(gt=0)] | None = None
    """A job that could take the run above this is not started."""

    mlflow: MlflowArn | None = None
    """An MLflow tracking server or app; without it the jobs track nothing."""

    model_s3: Annotated[str, pydantic.Field(pattern=r"^s3://[^/]+/.+")] | None = None
    """A folder with the base model, instead of one from the Hub."""

    deploy: DeployConfig | None = None
    """`[launch.sagemaker.deploy]`."""

    secret: str | None = None
    """Its ARN. The job itself reads it: a Hugging Face token, or a JSON object of environment variables."""

    # A ConfigError passes through pydantic, whose own message would print what was given: perhaps a secret.
    @pydantic.field_validator("secret", mode="before")
    @classmethod
    def _names_a_secret(cls, secret: Any) -> Any:
        if secret is not None and not (isinstance(secret, str) and _SECRET_ARN.fullmatch(secret)):
            raise ConfigError(
                "'launch.sagemaker.secret' must be the ARN of a Secrets Manager secret "
                "(arn:aws:secretsmanager:REGION:ACCOUNT:secret:NAME), not what the secret holds"
            )
        return secret

    @pydantic.field_validator("environment", mode="before")
    @classmethod
    def _are_variables(cls, table: Any) -> Any:
        where = "'launch.sagemaker.environment"
        if not isinstance(table, dict):
            raise ConfigError(f"{where}' must be a table of variables")
        for name, value in table.items():
            if not re.fullmatch(r"[A-Za-z_][A-Za-z0-9_]*", name):
                raise ConfigError(f"{where}': '{name}' cannot be the name of a variable")
            if not isinstance(value, str) or len(value) > 512:
                raise ConfigError(f"{where}.{name}' must be a string of at most 512 characters")
            if _NOT_YOURS.fullmatch(name.upper()):
                raise ConfigError(f"{where}.{name}' is set by calltune or by SageMaker")
        return table

    @pydantic.field_validator("tags")
    @classmethod
    def _tags_are_yours(cls, tags: dict[str, str]) -> dict[str, str]:
        for key, value in tags.items():
            if key.lower().startswith("aws:") or value.lower().startswith("aws:"):
                raise ValueError(f"'{key}': AWS keeps what begins with 'aws:' for itself")
            if key in OUR_TAGS:
                raise ValueError(f"'{key}' is a tag of calltune's own")
        return tags

    @pydantic.model_validator(mode="after")
    def _fit_together(self) -> Self:
        if problem := self._misfit():
            raise ValueError(problem)
        return self

    def _misfit(self) -> str | None:
        if twice := [kind for kind in self.instance_types if self.instance_types.count(kind) > 1]:
            return f"'instance_type' names {twice[0]} twice"
        if self.training_plan and len(self.instance_types) > 1:
            return "'training_plan' is for one 'instance_type', its own"
        if self.encrypt_traffic and self.instance_count == 1:
            return "'encrypt_traffic' is for 'instance_count' above 1"
        if self.spot and len(self.instance_types) > 1:
            return "'spot' takes one 'instance_type'"
        if self.spot and self.keep_alive_minutes:
            return "'spot' and 'keep_alive_minutes' do not go together"
        if self.spot and self.training_plan:
            return "'spot' and 'training_plan' do not go together"
        if self.max_wait_hours is not None and not self.spot:
            return "'max_wait_hours' is for 'spot'"
        if self.max_wait_hours is not None and self.max_wait_hours < self.max_runtime_hours:
            return "'max_wait_hours' may not be less than 'max_runtime_hours'"
        if bool(self.subnets) != bool(self.security_groups):
            return "'subnets' and 'security_groups' go together"
        if self.max_usd is not None and self.price_per_hour is None:
            return "'max_usd' needs 'price_per_hour'"
        return None

    @property
    def instance_types(self) -> tuple[str, ...]:
        """The types in the order in which they are tried."""
        return (self.instance_type,) if isinstance(self.instance_type, str) else self.instance_type


class LaunchConfig(Table):
    """`[launch]`: how many processes train and evaluate, each with its own GPU, and how they share the work."""

    processes: Annotated[int, pydantic.Field(ge=1)] = 1
    """On each machine."""

    machines: Annotated[int, pydantic.Field(ge=1)] = 1
    """All of them see the run's folder; calltune is started on each, with its `launch.machine_rank`."""

    machine_rank: Annotated[int, pydantic.Field(ge=0)] = 0
    main_address: str | None = None
    """Where the other machines reach machine 0."""

    main_port: Annotated[int, pydantic.Field(ge=1, le=65535)] = 29500
    """Used with more than one machine; on one machine a free port is taken."""

    strategy: Literal["ddp", "fsdp2", "zero1", "zero2", "zero3"] = "ddp"
    """`ddp` keeps all on every GPU; `fsdp2` (torch) and `zero1` to `zero3` (DeepSpeed) spread it over them."""

    tokens_per_batch: Annotated[int, pydantic.Field(ge=256)] | None = None
    """In training, an upper bound of tokens in one pass; a batch with more takes several. By default, it is what there
    is memory for where prefixes are shared; where they are not, there is none."""

    sagemaker: SageMakerConfig | None = None
    """`[launch.sagemaker]`, for `--on sagemaker`."""

    @pydantic.model_validator(mode="after")
    def _machines_fit(self) -> Self:
        if self.machine_rank >= self.machines:
            raise ValueError(f"machine_rank {self.machine_rank} needs more than {self.machines} machines")
        if self.machines > 1 and self.main_address is None:
            raise ValueError("with several machines 'main_address' must be given")
        if self.tokens_per_batch and self.strategy != "ddp":
            raise ValueError(f"'tokens_per_batch' is read by strategy 'ddp' alone, not by '{self.strategy}'")
        return self
