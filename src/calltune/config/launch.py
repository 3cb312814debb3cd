"""`[launch]`: on how many processes and machines a run is trained and evaluated, here or on Amazon SageMaker."""

from typing import Annotated, Literal, Self

import pydantic

from calltune.config.table import Table

_IMAGE = "763104351884.dkr.ecr.{region}.amazonaws.com/pytorch:2.12-cu130-amzn2023-sagemaker"
"""AWS's PyTorch image, patched until July 2027: Python 3.12, CUDA 13.0. A few regions use another account."""

InstanceType = Annotated[str, pydantic.Field(pattern=r"^ml\.[a-z0-9-]+\.[a-z0-9]+$")]

RoleArn = Annotated[str, pydantic.Field(pattern=r"^arn:aws[a-z-]*:iam::\d{12}:role/")]

PlanArn = Annotated[str, pydantic.Field(pattern=r"^arn:aws[a-z-]*:sagemaker:[a-z0-9-]*:\d{12}:training-plan/")]

MlflowArn = Annotated[str, pydantic.Field(pattern=r"^arn:aws[a-z-]*:sagemaker:[a-z0-9-]*:\d{12}:mlflow-")]

SecretArn = Annotated[str, pydantic.Field(pattern=r"^arn:aws[a-z-]*:secretsmanager:[a-z0-9-]+:\d{12}:secret:")]


class SageMakerConfig(Table):
    """`[launch.sagemaker]`."""

    role: RoleArn
    """What the jobs may do; `docs/sagemaker.md` has its policy."""

    bucket: Annotated[str, pydantic.Field(pattern=r"^[a-z0-9][a-z0-9.-]{1,61}[a-z0-9]$")]
    prefix: Annotated[str, pydantic.Field(pattern=r"^[A-Za-z0-9][A-Za-z0-9._/-]*[A-Za-z0-9]$")] = "calltune"
    """All of a run lies under `s3://bucket/prefix/<name>/`."""

    region: Annotated[str, pydantic.Field(pattern=r"^[a-z]{2}(-[a-z]+)+-\d$")]
    image: str | None = None
    """An image with Python and torch; by default AWS's own."""

    instance_type: InstanceType | Annotated[tuple[InstanceType, ...], pydantic.Field(min_length=1, max_length=5)]
    """One, or up to five: the first that there is capacity for is taken."""

    instance_count: Annotated[int, pydantic.Field(ge=1)] = 1
    """Machines that train together, `launch.processes` on each. Evaluation uses one."""

    volume_gb: Annotated[int, pydantic.Field(ge=1)] = 100
    max_runtime_hours: Annotated[float, pydantic.Field(gt=0, le=28 * 24)] = 24
    """Of each job; one that needs more is ended, and goes on from its checkpoint when it is run again."""

    spot: bool = False
    """Spare machines, cheaper, which AWS may take back at any time."""

    max_wait_hours: Annotated[float, pydantic.Field(gt=0)] | None = None
    """With `spot`: bound of waiting and running together; by default twice `max_runtime_hours`."""

    keep_alive_minutes: Annotated[int, pydantic.Field(ge=0, le=360)] = 0
    """How long the machine stays, and is paid, after a job, so that the next one starts at once."""

    training_plan: PlanArn | None = None
    subnets: Annotated[tuple[str, ...], pydantic.Field(max_length=16)] = ()
    security_groups: Annotated[tuple[str, ...], pydantic.Field(max_length=5)] = ()
    """Both or neither; the jobs then run in your own network, which must reach S3, PyPI and, for models, the Hub."""

    kms_key: str | None = None
    """Encrypts the machines' volumes and what the jobs write."""

    tags: dict[str, str] = pydantic.Field(default_factory=dict)
    price_per_hour: Annotated[float, pydantic.Field(gt=0)] | None = None
    """US dollars for one machine; with several instance types, that of the dearest."""

    max_usd: Annotated[float, pydantic.Field(gt=0)] | None = None
    """A job that could take the run above this is not started."""

    mlflow: MlflowArn | None = None
    """An MLflow tracking server or app; without it the jobs track nothing."""

    model_s3: Annotated[str, pydantic.Field(pattern=r"^s3://[^/]+/.+")] | None = None
    """A folder with the base model, instead of one from the Hub."""

    secret: SecretArn | None = None
    """Read by the job itself: a Hugging Face token, or a JSON object of environment variables."""

    @pydantic.model_validator(mode="after")
    def _fit_together(self) -> Self:
        if self.spot and len(self.instance_types) > 1:
            raise ValueError("'spot' takes one 'instance_type'")
        if self.spot and self.keep_alive_minutes:
            raise ValueError("'spot' and 'keep_alive_minutes' do not go together")
        if self.spot and self.training_plan:
            raise ValueError("'spot' and 'training_plan' do not go together")
        if self.max_wait_hours is not None and not self.spot:
            raise ValueError("'max_wait_hours' is for 'spot'")
        if self.max_wait_hours is not None and self.max_wait_hours < self.max_runtime_hours:
            raise ValueError("'max_wait_hours' may not be less than 'max_runtime_hours'")
        if bool(self.subnets) != bool(self.security_groups):
            raise ValueError("'subnets' and 'security_groups' go together")
        if self.max_usd is not None and self.price_per_hour is None:
            raise ValueError("'max_usd' needs 'price_per_hour'")
        return self

    @property
    def instance_types(self) -> tuple[str, ...]:
        """The types in the order in which they are tried."""
        return (self.instance_type,) if isinstance(self.instance_type, str) else self.instance_type

    @property
    def image_uri(self) -> str:
        """The image of the jobs."""
        return self.image or _IMAGE.format(region=self.region)


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
    """In training, an upper bound of tokens in one pass; a batch with more takes several. Without it, one takes all."""

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
