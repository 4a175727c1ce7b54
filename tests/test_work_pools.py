"""What a run on a work pool is given, as Prefect's own workers render it, and its image."""

import asyncio
import json
import re
import subprocess
import sys
import tomllib
from pathlib import Path, PurePosixPath
from types import SimpleNamespace
from typing import Any
from uuid import uuid4

import anyio
import pytest
import yaml
from docker import DockerClient
from docker.models.containers import _create_container_args
from docker.utils.build import exclude_paths
from jsonpatch import JsonPatch
from kubernetes_asyncio.client import ApiClient, V1Job, V1PersistentVolumeClaim
from prefect.client.orchestration import PrefectClient
from prefect.client.schemas.objects import FlowRun
from prefect.settings import PREFECT_API_URL, PREFECT_HOME, temporary_settings
from prefect.utilities.schema_tools.validation import ValidationError, validate
from prefect.workers.base import BaseWorker
from prefect.workers.process import ProcessWorker
from prefect_docker import DockerWorker
from prefect_kubernetes import KubernetesWorker

from flows import worker as mended
from tests.running import ROOT

WORKERS: dict[str, type[BaseWorker[Any, Any, Any]]] = {
    "process": ProcessWorker,
    "docker": DockerWorker,
    "kubernetes": KubernetesWorker,
}
IN_CONTAINERS = ["docker", "kubernetes"]
HOME = "/cyclical/.prefect"  # the worker's own, which a container lacks, would be passed on
ENVIRONMENT = {
    "PREFECT_FLOWS_HEARTBEAT_FREQUENCY": "30",
    "PREFECT_LOGGING_EXTRA_LOGGERS": "cyclical,tasks",
    "TF_FORCE_GPU_ALLOW_GROWTH": "true",
}
API = "http://prefect.example:4200/api"


def template(pool: str) -> dict[str, Any]:
    read: dict[str, Any] = json.loads((ROOT / "deploy" / f"{pool}.json").read_bytes())
    return read


def differences(pool: str) -> dict[tuple[str, str], Any]:
    """Compare with Prefect's default: (add, replace or remove, where) -> what."""
    default = WORKERS[pool].get_default_base_job_template()
    patch = JsonPatch.from_diff(default, template(pool)).patch
    return {(each["op"], each["path"]): each.get("value") for each in patch}


def configured(pool: str, api: str = API, **variables: Any) -> Any:
    """Return the job configuration as a worker has it when it starts a flow run."""
    configuration = WORKERS[pool].job_configuration
    client = PrefectClient(api)  # asked for blocks and variables, of which there are none
    job = asyncio.run(
        configuration.from_template_and_values(template(pool), variables, client=client)
    )
    with temporary_settings({PREFECT_API_URL: api, PREFECT_HOME: Path("/worker/.prefect")}):
        job.prepare_for_flow_run(FlowRun(flow_id=uuid4(), name="quick"), worker_name="worker")
    return job


def container(**variables: Any) -> dict[str, Any]:
    """Return what the Docker engine is told to create."""
    engine = DockerClient("tcp://127.0.0.1:1", version="1.44")  # never reached
    settings = DockerWorker("gpu")._build_container_settings(
        engine, configured("docker", **variables)
    )
    return _create_container_args({**settings, "version": engine.api._version})


def job(**variables: Any) -> dict[str, Any]:
    """Return the manifest that Kubernetes is given."""
    manifest: dict[str, Any] = configured("kubernetes", **variables).job_manifest
    return manifest


def pod(**variables: Any) -> dict[str, Any]:
    found: dict[str, Any] = job(**variables)["spec"]["template"]["spec"]
    return found


def understood(manifest: dict[str, Any], kind: type) -> Any:
    """Return what Kubernetes' own client reads of a manifest: no field that it does not know."""

    async def read() -> Any:
        async with ApiClient() as client:
            answer = SimpleNamespace(data=json.dumps(manifest))
            return client.sanitize_for_serialization(client.deserialize(answer, kind))

    return asyncio.run(read())


def instructions() -> list[tuple[str, str]]:
    """Return the Dockerfile's instructions in order, each on one line."""
    text = (ROOT / "deploy" / "Dockerfile").read_text()
    text = re.sub(r"^#.*\n", "", text, flags=re.MULTILINE).replace("\\\n", " ")
    lines = (line.split(maxsplit=1) for line in text.splitlines() if line.strip())
    return [(name, " ".join(rest.split())) for name, rest in lines]


def the(instruction: str) -> str:
    [found] = [rest for name, rest in instructions() if name == instruction]
    return found


def copied() -> list[str]:
    return [
        source for name, rest in instructions() if name == "COPY" for source in rest.split()[:-1]
    ]


GPUS = {"title": "GPUs", "type": "integer", "minimum": 0, "default": 1}
VARIABLES = "/variables/properties"
POD = "/job_configuration/job_manifest/spec/template/spec"
CONTAINER = f"{POD}/containers/0"


def test_the_process_template_is_prefects_own_with_an_environment() -> None:
    assert differences("process") == {("add", f"{VARIABLES}/env/default"): ENVIRONMENT}


def test_the_docker_template_is_prefects_own_with_gpus_volumes_and_our_image() -> None:
    found = differences("docker")
    gpus = found.pop(("add", f"{VARIABLES}/gpus"))
    assert gpus.pop("description")
    assert gpus == GPUS
    request = {"driver": "nvidia", "count": "{{ gpus }}", "capabilities": [["gpu"]]}
    assert found == {
        ("add", f"{VARIABLES}/env/default"): {**ENVIRONMENT, "PREFECT_HOME": HOME},
        ("add", f"{VARIABLES}/image/default"): "cyclical:latest",
        ("replace", f"{VARIABLES}/image_pull_policy/default"): "IfNotPresent",
        ("add", f"{VARIABLES}/volumes/default"): [
            *("cyclical-artifacts:/cyclical/artifacts", "cyclical-data:/cyclical/data")
        ],
        # A template cannot merge the two, and a variable that is not heeded must not be offered.
        ("remove", f"{VARIABLES}/container_create_kwargs"): None,
        ("replace", "/job_configuration/container_create_kwargs"): {"device_requests": [request]},
    }


def test_the_kubernetes_template_is_prefects_own_with_gpus_a_claim_and_our_image() -> None:
    found = differences("kubernetes")
    gpus = found.pop(("add", f"{VARIABLES}/gpus"))
    claim = found.pop(("add", f"{VARIABLES}/artifacts_claim"))
    assert gpus.pop("description")
    assert claim.pop("description")
    assert gpus == GPUS
    assert claim == {"title": "Artifacts Claim", "type": "string", "default": "cyclical-artifacts"}
    assert found == {
        ("add", f"{VARIABLES}/env/default"): {**ENVIRONMENT, "PREFECT_HOME": HOME},
        ("replace", f"{VARIABLES}/image/default"): "cyclical:latest",
        ("add", f"{CONTAINER}/resources/limits/nvidia.com~1gpu"): "{{ gpus }}",
        ("add", f"{CONTAINER}/volumeMounts"): [
            {"name": "artifacts", "mountPath": "/cyclical/artifacts"}
        ],
        ("add", f"{POD}/volumes"): [
            {"name": "artifacts", "persistentVolumeClaim": {"claimName": "{{ artifacts_claim }}"}}
        ],
        ("add", f"{POD}/tolerations"): [
            {"key": "nvidia.com/gpu", "operator": "Exists", "effect": "NoSchedule"}
        ],
        ("add", f"{POD}/securityContext"): {"fsGroup": 1000},
    }


@pytest.mark.parametrize("pool", IN_CONTAINERS)
@pytest.mark.parametrize("wrong", [-1, 1.5, "two"])
def test_a_number_of_gpus_that_cannot_be_is_refused(pool: str, wrong: Any) -> None:
    schema = template(pool)["variables"]
    validate({"gpus": 0}, schema, raise_on_error=True)
    with pytest.raises(ValidationError):  # as the server does before it plans a run
        validate({"gpus": wrong}, schema, raise_on_error=True)


@pytest.mark.parametrize("pool", WORKERS)
def test_a_run_logs_our_packages_and_leaves_gpu_memory_to_others(pool: str) -> None:
    environment = configured(pool, env={"KERAS_BACKEND": "tensorflow"}).env
    assert environment.items() >= ENVIRONMENT.items()
    assert environment["KERAS_BACKEND"] == "tensorflow"
    assert "CYCLICAL_CHECKOUT" not in environment  # it was resolved when the run was deployed


@pytest.mark.parametrize(("variables", "count"), [({}, 1), ({"gpus": 2}, 2), ({"gpus": 0}, 0)])
def test_a_docker_run_is_given_the_gpus_it_asks_for(variables: dict[str, int], count: int) -> None:
    [request] = container(**variables)["host_config"]["DeviceRequests"]
    assert request == {
        "Driver": "nvidia",
        "Count": count,  # 0 is none for the engine; all would be -1
        "DeviceIDs": [],
        "Capabilities": [["gpu"]],
        "Options": {},
    }


def test_a_docker_run_keeps_its_results_and_the_data_in_named_volumes() -> None:
    assert container()["host_config"]["Binds"] == [
        "cyclical-artifacts:/cyclical/artifacts",
        "cyclical-data:/cyclical/data",
    ]


def test_a_docker_run_starts_the_flow_run_in_our_image() -> None:
    made = container()
    assert made["image"] == "cyclical:latest"
    assert made["command"] == "prefect flow-run execute"
    assert made["environment"]["PREFECT_HOME"] == HOME
    assert made["environment"]["PREFECT_API_URL"] == API
    assert made["environment"]["PREFECT__FLOW_RUN_ID"]
    assert "AutoRemove" not in made["host_config"]  # else the worker may miss how it ended
    assert configured("docker").image_pull_policy == "IfNotPresent"  # it is in no registry


def test_a_docker_run_reaches_a_server_on_the_loopback_interface() -> None:
    local = configured("docker", api="http://127.0.0.1:4200/api")
    with temporary_settings({PREFECT_API_URL: "http://127.0.0.1:4200/api"}):
        assert local.get_network_mode() == "host"


@pytest.mark.parametrize(("variables", "count"), [({}, 1), ({"gpus": 2}, 2), ({"gpus": 0}, 0)])
def test_a_kubernetes_run_is_given_the_gpus_it_asks_for(
    variables: dict[str, int], count: int
) -> None:
    [main] = pod(**variables)["containers"]
    assert main["resources"] == {"limits": {"nvidia.com/gpu": count}, "requests": {}}


def test_a_kubernetes_run_may_be_placed_on_nodes_kept_for_gpus() -> None:
    assert pod()["tolerations"] == [
        {"key": "nvidia.com/gpu", "operator": "Exists", "effect": "NoSchedule"}
    ]


@pytest.mark.parametrize(
    ("variables", "claim"), [({}, "cyclical-artifacts"), ({"artifacts_claim": "mine"}, "mine")]
)
def test_a_kubernetes_run_keeps_its_results_in_the_claim(
    variables: dict[str, str], claim: str
) -> None:
    of_pod = pod(**variables)
    [volume] = of_pod["volumes"]
    [mount] = of_pod["containers"][0]["volumeMounts"]
    assert volume == {"name": "artifacts", "persistentVolumeClaim": {"claimName": claim}}
    assert mount == {"name": "artifacts", "mountPath": "/cyclical/artifacts"}


def test_a_kubernetes_run_starts_the_flow_run_in_our_image_once() -> None:
    made = job()
    [main] = made["spec"]["template"]["spec"]["containers"]
    environment = {each["name"]: each["value"] for each in main["env"]}
    assert main["image"] == "cyclical:latest"
    assert main["imagePullPolicy"] == "IfNotPresent"
    assert main["args"] == ["prefect", "flow-run", "execute"]
    assert environment.items() >= ENVIRONMENT.items()
    assert environment["PREFECT_HOME"] == HOME
    assert environment["PREFECT_API_URL"] == API
    assert made["spec"]["backoffLimit"] == 0
    assert made["spec"]["template"]["spec"]["restartPolicy"] == "Never"


def test_kubernetes_knows_every_field_of_a_job() -> None:
    made = job()
    # Prefect's own default has these in the pod, where Kubernetes passes over them.
    for misplaced in ("completions", "parallelism"):
        assert made["spec"]["template"]["spec"].pop(misplaced) == 1
    made["spec"]["template"]["spec"]["containers"][0]["resources"] = {
        "limits": {"nvidia.com/gpu": "1"},  # a quantity, which Kubernetes takes as a number too
        "requests": {},
    }
    assert understood(made, V1Job) == made


def test_the_claim_is_the_one_that_runs_name_and_can_be_shared() -> None:
    claim = yaml.safe_load((ROOT / "deploy" / "artifacts-claim.yaml").read_text())
    assert understood(claim, V1PersistentVolumeClaim) == claim
    default = template("kubernetes")["variables"]["properties"]["artifacts_claim"]["default"]
    assert claim["metadata"]["name"] == default
    assert claim["spec"]["accessModes"] == ["ReadWriteMany"]


def test_the_image_lacks_nothing_that_it_copies_and_is_sent_nothing_else() -> None:
    ignored = (ROOT / ".dockerignore").read_text().splitlines()
    patterns = [line for line in ignored if line and not line.startswith("#")]
    sent = exclude_paths(ROOT, patterns, dockerfile="deploy/Dockerfile")
    assert set(copied()) <= sent
    always = {".dockerignore", "deploy"}  # by the builder itself, with the Dockerfile
    assert {PurePosixPath(path).parts[0] for path in sent} == {*copied(), *always}
    assert {path for path in sent if path.startswith("deploy/")} == {"deploy/Dockerfile"}
    assert [path for path in sent if "__pycache__" in path] == []


def test_the_image_holds_what_the_project_installs() -> None:
    project = tomllib.loads((ROOT / "pyproject.toml").read_text())
    packages = project["tool"]["hatch"]["build"]["targets"]["wheel"]["packages"]
    needed = {*packages, project["project"]["readme"], *project["project"]["license-files"]}
    assert needed <= set(copied())
    installs = [rest for name, rest in instructions() if name == "RUN" and "pip install" in rest]
    assert all("--constraint constraints.txt" in each for each in installs)
    [extras] = re.findall(r"'\.\[(.+)\]'", installs[-1])
    of_project = project["project"]["optional-dependencies"]
    wanted = [each for extra in extras.split(",") for each in of_project[extra]]
    wheels = installs[0].rpartition(" ")[2].strip("'")
    assert any(each.startswith(f"{wheels}>=") for each in wanted)


def test_the_image_runs_on_a_python_that_the_project_takes() -> None:
    found = re.fullmatch(r"python:3\.(\d+)\.\d+-slim-\w+", the("FROM"))
    assert found
    assert 11 <= int(found[1]) < 14


def test_a_run_works_where_the_volumes_are_mounted_and_may_write_there() -> None:
    directory = the("WORKDIR")
    volumes = json.loads(the("VOLUME"))
    by_docker = [bind.split(":")[1] for bind in container()["host_config"]["Binds"]]
    by_kubernetes = [each["mountPath"] for each in pod()["containers"][0]["volumeMounts"]]
    assert by_docker == volumes
    assert set(by_kubernetes) <= set(volumes)
    assert {str(PurePosixPath(each).parent) for each in volumes} == {directory}

    user, group = the("USER").split(":")
    assert int(user) > 0
    assert pod()["securityContext"]["fsGroup"] == int(group)
    [made] = [rest for name, rest in instructions() if "useradd" in rest]
    assert f"groupadd --gid {group} cyclical" in made
    assert f"useradd --uid {user} --gid {group} --create-home cyclical" in made
    [owned] = re.findall(r"chown cyclical:cyclical (.+)", made)
    assert {f"{directory}/{each}" for each in owned.split()} == {*volumes, HOME}


def test_the_image_lets_the_worker_name_the_command_and_the_gpus() -> None:
    names = [name for name, _ in instructions()]
    assert "ENTRYPOINT" not in names
    # With it, a pod that asks for no GPU could see all of its node.
    assert "NVIDIA_VISIBLE_DEVICES" not in the("ENV")
    assert f"PREFECT_HOME={HOME}" in the("ENV").split()


def test_a_run_whose_last_attempt_still_ends_waits_for_the_workers_next_look() -> None:
    retried = SimpleNamespace(flow_run=SimpleNamespace(id=uuid4()))

    async def look() -> list[FlowRun]:
        worker = ProcessWorker(work_pool_name="gpu", limit=1)
        worker._limiter = anyio.CapacityLimiter(1)
        worker._limiter.acquire_on_behalf_of_nowait(retried.flow_run.id)
        with pytest.raises(RuntimeError, match="already holding"):  # else ours is not needed
            await mended.submit_all(worker, [retried])  # type: ignore[list-item]
        return await mended.submit_ended(worker, [retried])  # type: ignore[list-item]

    with temporary_settings({PREFECT_API_URL: "http://127.0.0.1:1/api"}):
        assert asyncio.run(look()) == []


def test_make_worker_starts_the_worker_that_is_mended() -> None:
    assert (
        "\n\t@$(BIN)/python -m flows.worker --pool gpu --limit 1\n"
        in (ROOT / "Makefile").read_text()
    )
    look = """
import atexit, runpy, sys
from prefect.workers.base import BaseWorker
atexit.register(lambda: print(BaseWorker._submit_scheduled_flow_runs.__name__))
sys.argv[1:] = ["--help"]
runpy.run_module("flows.worker", run_name="__main__")
"""
    command = [sys.executable, "-c", look]
    ran = subprocess.run(command, cwd=ROOT, capture_output=True, text=True, check=True)
    assert ran.stdout.startswith("Usage: prefect worker start"), ran.stderr
    assert ran.stdout.endswith("submit_ended\n")
