"""Volume claims, volumes, their classes and attachments, as far as the provisioner reads them."""

import pytest
from worlds import eventually

from jupyter_gpu_jit.errors import NotFound, Rejected
from jupyter_gpu_jit.ports import STORAGE_CLASSES, VOLUME_ATTACHMENTS, VOLUME_CLAIMS, VOLUMES

GIB = {"storage": "1Gi"}
ZONE_A = {"key": "topology.kubernetes.io/zone", "operator": "In", "values": ["us-east-1a"]}
IN_ZONE_A = {"required": {"nodeSelectorTerms": [{"matchExpressions": [ZONE_A]}]}}


class Storage:
    """Makes small valid objects, each marked as this test's own, and takes them away again."""

    def __init__(self, world):
        self.world, self.cluster = world, world.cluster
        self.labels = {"contract": world.namespace}
        self.mine = f"contract={world.namespace}"

    def where(self, kind):
        return {"namespace": self.world.namespace} if kind.namespaced else {}

    async def create(self, kind, body):
        name = self.world.name(kind.plural[:9])
        meta = {"name": name, "labels": self.labels, **body.pop("metadata", {})}
        return await self.cluster.create(kind, {"metadata": meta, **body}, **self.where(kind))

    async def claim(self, **spec):
        spec = {
            "accessModes": ["ReadWriteOnce"],
            "resources": {"requests": GIB},
            # A class that does not exist: no controller of a real server finds a volume for it.
            "storageClassName": f"none-{self.world.namespace}",
            **spec,
        }
        return await self.create(VOLUME_CLAIMS, {"spec": spec})

    async def volume(self, **spec):
        spec = {
            "accessModes": ["ReadWriteOnce"],
            "capacity": GIB,
            "csi": {"driver": "ebs.csi.aws.com", "volumeHandle": self.world.name("vol")},
            "storageClassName": f"none-{self.world.namespace}",
            **spec,
        }
        return await self.create(VOLUMES, {"spec": spec})

    async def kind(self, **body):
        return await self.create(STORAGE_CLASSES, {"provisioner": "ebs.csi.aws.com", **body})

    async def attachment(self, **body):
        source = {"persistentVolumeName": f"pv-{self.world.namespace}"}
        spec = {"attacher": "ebs.csi.aws.com", "nodeName": "contract-node", "source": source}
        return await self.create(VOLUME_ATTACHMENTS, {"spec": spec, **body})

    async def patch(self, kind, made, patch, **how):
        name = made["metadata"]["name"]
        return await self.cluster.patch(kind, name, patch, **self.where(kind), **how)

    async def get(self, kind, made):
        return await self.cluster.get(kind, made["metadata"]["name"], **self.where(kind))

    async def clean(self):
        for kind in MAKERS:
            for item in (
                await self.cluster.list(kind, label_selector=self.mine, **self.where(kind))
            ).items:
                await self.cluster.delete(kind, item["metadata"]["name"], **self.where(kind))


@pytest.fixture
async def storage(world):
    made = Storage(world)
    yield made
    await made.clean()


async def test_a_claim_begins_without_a_volume_whatever_it_says(storage):
    made = await storage.claim()
    assert made["status"]["phase"] == "Pending"
    assert made["spec"]["volumeMode"] == "Filesystem"
    assert "volumeName" not in made["spec"]
    early = {"spec": {**made["spec"]}, "status": {"phase": "Bound"}}
    assert (await storage.create(VOLUME_CLAIMS, early))["status"]["phase"] == "Pending"


async def test_a_claim_is_given_its_volume_once_and_stays_as_it_is_otherwise(storage):
    made = await storage.claim()
    given = await storage.patch(VOLUME_CLAIMS, made, {"spec": {"volumeName": "pv-1"}})
    assert given["spec"]["volumeName"] == "pv-1"
    for change in ({"volumeName": "pv-2"}, {"accessModes": ["ReadWriteMany"]}):
        with pytest.raises(Rejected):
            await storage.patch(VOLUME_CLAIMS, made, {"spec": change})


async def test_the_phase_of_a_claim_is_written_by_its_own_door_only(storage):
    made = await storage.claim()
    same = await storage.patch(VOLUME_CLAIMS, made, {"status": {"phase": "Bound"}})
    assert same["status"]["phase"] == "Pending"
    bound = {"status": {"phase": "Bound", "accessModes": ["ReadWriteOnce"], "capacity": GIB}}
    written = await storage.patch(VOLUME_CLAIMS, made, bound, subresource="status")
    assert written["status"]["capacity"] == GIB
    assert written["spec"] == made["spec"]


@pytest.mark.parametrize(
    "lacks", [{"accessModes": []}, {"resources": {"requests": {}}}], ids=["modes", "size"]
)
async def test_a_claim_says_how_much_and_how_it_is_used(storage, lacks):
    with pytest.raises(Rejected):
        await storage.claim(**lacks)


async def test_a_volume_is_kept_with_its_place_and_does_not_move(storage):
    made = await storage.volume(nodeAffinity=IN_ZONE_A)
    spec = (await storage.get(VOLUMES, made))["spec"]
    assert spec["nodeAffinity"] == IN_ZONE_A
    assert (spec["persistentVolumeReclaimPolicy"], spec["volumeMode"]) == ("Retain", "Filesystem")
    elsewhere = {
        "required": {"nodeSelectorTerms": [{"matchExpressions": [{**ZONE_A, "values": ["b"]}]}]}
    }
    with pytest.raises(Rejected):
        await storage.patch(VOLUMES, made, {"spec": {"nodeAffinity": elsewhere}})


@pytest.mark.parametrize("lacks", [{"accessModes": []}, {"capacity": {}}], ids=["modes", "size"])
async def test_a_volume_says_how_large_it_is_and_how_it_is_used(storage, lacks):
    with pytest.raises(Rejected):
        await storage.volume(**lacks)


async def test_the_phase_of_a_volume_is_written_by_its_own_door_only(storage):
    made = await storage.volume()
    assert made["status"]["phase"] == "Pending"
    same = await storage.patch(VOLUMES, made, {"status": {"phase": "Failed"}})
    assert same["status"]["phase"] in ("Pending", "Available")
    written = await storage.patch(
        VOLUMES, made, {"status": {"reason": "Planted"}}, subresource="status"
    )
    assert written["status"]["reason"] == "Planted"


async def test_a_class_binds_at_once_unless_it_says_otherwise_and_stays_so(storage):
    made = await storage.kind()
    assert (made["volumeBindingMode"], made["reclaimPolicy"]) == ("Immediate", "Delete")
    lazy = await storage.kind(volumeBindingMode="WaitForFirstConsumer")
    assert lazy["volumeBindingMode"] == "WaitForFirstConsumer"
    with pytest.raises(Rejected):
        await storage.patch(STORAGE_CLASSES, lazy, {"volumeBindingMode": "Immediate"})
    with pytest.raises(Rejected):
        await storage.patch(STORAGE_CLASSES, lazy, {"provisioner": "other.example"})
    default = {"storageclass.kubernetes.io/is-default-class": "false"}
    marked = await storage.patch(STORAGE_CLASSES, lazy, {"metadata": {"annotations": default}})
    assert marked["metadata"]["annotations"] == default


async def test_a_class_names_who_makes_its_volumes(storage):
    with pytest.raises(Rejected):
        await storage.kind(provisioner="")


async def test_a_driver_says_by_the_status_that_a_volume_is_attached(storage):
    made = await storage.attachment(status={"attached": True})
    assert not made.get("status", {}).get("attached")
    done = {"status": {"attached": True}}
    written = await storage.patch(VOLUME_ATTACHMENTS, made, done, subresource="status")
    assert written["status"]["attached"]
    assert written["spec"] == made["spec"]


MAKERS = {
    VOLUME_CLAIMS: Storage.claim,
    VOLUMES: Storage.volume,
    STORAGE_CLASSES: Storage.kind,
    VOLUME_ATTACHMENTS: Storage.attachment,
}


@pytest.mark.parametrize("kind", MAKERS, ids=lambda kind: kind.plural)
async def test_each_is_listed_watched_and_deleted(storage, kind):
    where = storage.where(kind)
    before = await storage.cluster.list(kind, label_selector=storage.mine, **where)
    assert before.items == ()
    made = await MAKERS[kind](storage)
    name = made["metadata"]["name"]
    listed = await storage.cluster.list(kind, label_selector=storage.mine, **where)
    assert [item["metadata"]["name"] for item in listed.items] == [name]
    assert "kind" not in listed.items[0]
    [seen] = await storage.world.events_until(
        kind, 1, before.resource_version, label_selector=storage.mine, **where
    )
    assert (seen.type, seen.object["metadata"]["name"]) == ("ADDED", name)
    assert (seen.object["apiVersion"], seen.object["kind"]) == (kind.api_version, kind.kind)
    await storage.cluster.delete(kind, name, **where)

    async def is_gone():
        try:
            await storage.get(kind, made)
        except NotFound:
            return True
        return False

    # A protection finalizer keeps the real ones a moment.
    await eventually(is_gone, seconds=15)
