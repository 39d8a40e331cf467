"""QEMU's command line, as a list.

::

    q35 + RAM as a shared file     the agents map the same file
    virtio-net, user network       one forwarded port on 127.0.0.1, chosen by the host's kernel;
                                   nothing leads out of the guest
    serial console, QMP            sockets without a name, given as descriptors
    dm0, dm1 ...                   the devices, as devmodel.link has them
    virtio-9p or vhost-user-fs     one for each share

Every descriptor is inherited, so nothing of a VM has a name that could be left behind. For a
person who wants to paste the line (`--dry-run`) there is `standalone`, which needs none.
"""

from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path

from devmodel import sizes
from devmodel.build.emulator import PROGRAM, Emulator
from devmodel.link import Endpoint, Transport
from devmodel.machine import shares, tsc
from devmodel.machine.accel import Accelerator
from devmodel.machine.config import MachineConfig, Policy
from devmodel.machine.shares import Share

# oops and panic end QEMU at once (-no-reboot), so a crash is an exit and not a hang. Warnings
# must reach the console, where they are looked for: loglevel 5. The rest is speed: no wait for
# hardware that is not there, no calibration of a clock whose rate is known, and nothing of what
# nobody asks for: certificates for modules' signatures (a tenth of a boot under TCG), keys that
# are kept encrypted, tests of ciphers (another together).
APPEND = (
    "console=ttyS0",
    "loglevel=5",
    "oops=panic",
    "panic=-1",
    "hung_task_panic=1",
    "rdinit=/init",
    "random.trust_cpu=on",
    "tsc=reliable",
    "no_timer_check",
    "nokaslr",
    "mitigations=off",
    "initcall_blacklist=load_system_certificate_list,init_encrypted",
    "cryptomgr.notests",
)

# Where HBM becomes a NUMA node: room to plug it in, and only for pages that can leave again.
HOTPLUG = ",slots=1,maxmem={}M"
NODE_APPEND = ("memhp_default_state=online_movable",)
# Distance (SLIT), latency in ns and bandwidth (HMAT) from the CPUs: their own memory; the HBM.
LOCAL = (10, 100, "40G")
FAR = (40, 400, "10G")


@dataclass(frozen=True)
class Descriptors:
    """Inherited descriptors: the RAM file and the sockets. Endpoints have their own."""

    ram: int
    qmp: int
    console: int
    shares: tuple[int, ...] = ()
    """a virtiofs socket for each share; none where they come by 9p"""


@dataclass(frozen=True)
class Boot:
    """What is booted, and by what."""

    emulator: Emulator
    kernel: Path
    initrd: Path
    append: tuple[str, ...] = ()
    gdb: Path | None = None
    """where a debugger finds a socket: no port, which any user of this machine could reach"""
    extra: tuple[str, ...] = ()


def _common(
    config: MachineConfig, accelerator: Accelerator, boot: Boot, transport: Transport
) -> list[str]:
    machine = ",".join(["q35", f"accel={accelerator.name}", *transport.machine_properties])
    nodes = [device.numa_node for device in config.devices if device.numa_node]
    machine += ",hmat=on" if nodes else ""
    machine += "" if _is_numa(config) else ",memory-backend=ram0"
    # By its loader it would be called ld-linux in lists of processes.
    line = [*boot.emulator.argv, "-name", f"{config.name},process={PROGRAM}"]
    # No boot ROM for the network card, no floppy, no DVD, no VGA: less to look at while booting.
    line += ["-nodefaults", "-no-user-config", "-no-reboot", "-display", "none"]
    line += ["-machine", f"{machine},smbus=off,vmport=off,pit=on,hpet=off"]
    line += ["-cpu", accelerator.cpu, "-smp", f"{config.cpus},sockets={config.nodes}"]
    line += ["-m", f"{config.memory >> 20}M{HOTPLUG.format(2 * config.memory >> 20) * bool(nodes)}"]
    if _is_numa(config):
        line += numa(config.nodes, max(nodes, default=0), config.cpus)
    line += ["-kernel", str(boot.kernel), "-initrd", str(boot.initrd)]
    words = [*APPEND, *(NODE_APPEND if nodes else ())]
    if config.policy is not Policy.IN_PLACE:
        # Here and not to modprobe: it holds each time that the driver is loaded.
        words.append(f"devmodel.policy={config.policy}")
    if accelerator.name == "tcg" and (rate := tsc.khz()) is not None:
        words.append(f"tsc_early_khz={rate}")
    line += ["-append", " ".join([*words, config.append, *boot.append]).strip()]
    line += ["-netdev", "user,id=net,restrict=on,hostfwd=tcp:127.0.0.1:0-10.0.2.15:22"]
    line += ["-device", "virtio-net-pci,netdev=net,romfile="]
    line += ["-device", "virtio-rng-pci"]
    if boot.gdb is not None:
        # A comma ends a value, two are one.
        path = str(boot.gdb).replace(",", ",,")
        line += ["-gdb", f"unix:{path},server=on,wait=off"]
    return line


def _is_numa(config: MachineConfig) -> bool:
    return config.nodes > 1 or any(device.numa_node for device in config.devices)


def numa(ram: int, device: int, cpus: int) -> list[str]:
    """RAM and CPUs on the first `ram` nodes, and up to the node `device` ones with neither.

    The kernel takes the nodes for possible that SRAT names; QEMU gives the last one the range
    where memory may be plugged in. Where there is such a node, HMAT has to describe every pair,
    or all falls into one tier.
    """
    line = []
    for node in range(ram):
        own = [str(cpu) for cpu in range(cpus) if cpu * ram // cpus == node]
        initiator = [f"initiator={node}"] if device else []
        words = [f"memdev=ram{node}", f"cpus={own[0]}-{own[-1]}", *initiator]
        line += ["-numa", ",".join(["node", f"nodeid={node}", *words])]
    for empty in range(ram, device + 1):
        line += ["-numa", f"node,nodeid={empty},initiator=0"]
    nodes = range(max(ram, device + 1))
    if device:
        for source in range(ram):
            for target in nodes:
                _, latency, bandwidth = LOCAL if source == target else FAR
                pair = f"hmat-lb,initiator={source},target={target},hierarchy=memory"
                line += ["-numa", f"{pair},data-type=access-latency,latency={latency}"]
                line += ["-numa", f"{pair},data-type=access-bandwidth,bandwidth={bandwidth}"]
    for source in nodes:
        for target in nodes:
            distance = (LOCAL if source == target else FAR)[0]
            line += ["-numa", f"dist,src={source},dst={target},val={distance}"]
    return line


def live(
    config: MachineConfig,
    accelerator: Accelerator,
    boot: Boot,
    fds: Descriptors,
    transport: Transport,
    devices: Sequence[Endpoint],
    folders: Sequence[Share] = (),
) -> list[str]:
    """The command line of a VM that devmodel supervises. It starts stopped, for QMP to go on."""
    line = _common(config, accelerator, boot, transport)
    line += shares.virtiofs(folders, fds.shares) if fds.shares else shares.nine_p(folders)
    line += ["-S"]
    # One file, as the agents see it, whatever the nodes.
    part = config.memory // config.nodes
    for node in range(config.nodes):
        backend = f"memory-backend-file,id=ram{node},size={part},share=on"
        offset = f",offset={node * part}" if node else ""
        line += ["-object", f"{backend},mem-path=/proc/self/fd/{fds.ram}{offset}"]
    line += ["-chardev", f"socket,id=qmp,fd={fds.qmp}", "-mon", "chardev=qmp,mode=control"]
    line += ["-chardev", f"socket,id=console,fd={fds.console}", "-serial", "chardev:console"]
    for device in devices:
        line += device.arguments
    return [*line, *boot.extra]


def standalone(
    config: MachineConfig, accelerator: Accelerator, boot: Boot, transport: Transport
) -> list[str]:
    """The same machine as a line to paste: console on the terminal, devices without an agent."""
    line = _common(config, accelerator, boot, transport)
    part = config.memory // config.nodes
    for node in range(config.nodes):
        line += ["-object", f"memory-backend-memfd,id=ram{node},size={part},share=on"]
    line += ["-serial", "mon:stdio", *([] if boot.gdb is None else ["-S"])]
    for number, device in enumerate(config.devices):
        line += transport.placeholder(number, device)
    return [*line, *boot.extra]


def describe_memory(config: MachineConfig) -> str:
    """RAM and HBM in one phrase, for messages."""
    hbm = sum(device.hbm_size for device in config.devices)
    return f"{sizes.show(config.memory)} RAM" + (f" + {sizes.show(hbm)} HBM" if hbm else "")
