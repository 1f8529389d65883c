"""Drives a machine with PyPI's qemu.qmp: `qmp.py PHASE SOCKET [ARGUMENTS]`. Prints one line; an assertion is the failure."""

import asyncio
import os
import sys

from qemu.qmp import ExecuteError, QMPClient


class Driver:
    """A client with the events it heard."""

    def __init__(self, name):
        self.qmp = QMPClient(name)
        self.listener = None

    async def connect(self, socket):
        await self.qmp.connect(socket)
        self.listener = self.qmp.listener()
        self.context = self.listener
        self.listener = self.context.__enter__()

    async def run(self, command, **arguments):
        names = {k.replace("_", "-"): v for k, v in arguments.items()}
        return await self.qmp.execute(command, names)

    async def event(self, name, seconds=120):
        async def wait():
            async for event in self.listener:
                if event["event"] == name:
                    assert event["timestamp"]["seconds"] > 0
                    return event.get("data", {})

        return await asyncio.wait_for(wait(), seconds)

    async def fails(self, command, kind, raw=None, **arguments):
        try:
            if raw is not None:
                await self.qmp.execute_msg(self.qmp.make_execute_msg(command, raw))
            else:
                await self.run(command, **arguments)
        except ExecuteError as error:
            assert error.error_class == kind, f"{command}: {error.error}"
            return
        raise AssertionError(f"{command} did not fail")


async def start(first, second):
    version = await first.run("query-version")
    assert version["qemu"]["major"] >= 5
    status = await first.run("query-status")
    assert status["status"] == "prelaunch" and not status["running"], status
    await first.run("cont")
    await first.event("RESUME")
    await second.event("RESUME")
    assert (await second.run("query-status"))["running"]
    return "started"


async def drive(first, second, folder, cd):
    for _ in range(3):
        await first.run("stop")
        await second.event("STOP")
        assert (await second.run("query-status"))["status"] == "paused"
        await second.run("cont")
        await first.event("RESUME")
    names = {c["name"] for c in await first.run("query-commands")}
    needed = """query-version query-status query-cpus-fast query-block query-named-block-nodes query-pci query-chardev
        query-machines query-commands query-qmp-schema query-name query-uuid query-mice query-blockstats
        query-memory-size-summary stop cont system_reset system_powerdown quit screendump send-key input-send-event
        human-monitor-command eject blockdev-add blockdev-del blockdev-change-medium memsave pmemsave
        inject-nmi""".split()
    assert not set(needed) - names, set(needed) - names
    for name in (n for n in needed if n.startswith("query-")):
        await first.run(name)
    schema = await first.run("query-qmp-schema")
    assert any(e["name"] == "SHUTDOWN" and e["meta-type"] == "event" for e in schema)
    cpus = await first.run("query-cpus-fast")
    assert [c["cpu-index"] for c in cpus] == [0, 1] and all(c["thread-id"] > 0 for c in cpus), cpus
    classes = {d["class_info"]["class"] for bus in await first.run("query-pci") for d in bus["devices"]}
    assert {0x0600, 0x0601, 0x0101, 0x0300} <= classes, classes
    for kind, magic in (("ppm", b"P6"), ("png", b"\x89PNG")):
        path = os.path.join(folder, f"screen.{kind}")
        await first.run("screendump", filename=path, format=kind)
        with open(path, "rb") as file:
            assert file.read(4).startswith(magic)
    path = os.path.join(folder, "memory")
    await first.run("pmemsave", val=0xF0000, size=65536, filename=path)
    assert os.path.getsize(path) == 65536
    text = await first.run("human-monitor-command", command_line="info status")
    assert text.startswith("VM status: running"), text
    await first.run("blockdev-change-medium", id=cd, filename=path, format="raw")
    tray = await second.event("DEVICE_TRAY_MOVED")
    assert tray["tray-open"], tray
    drives = {d.get("device") or d.get("qdev"): d for d in await first.run("query-block")}
    assert any(d.get("inserted", {}).get("image", {}).get("virtual-size") == 65536 for d in drives.values()), drives
    await first.run("eject", id=cd, force=True)
    await first.fails("no-such-command", "CommandNotFound")
    await first.fails("eject", "DeviceNotFound", device="nothing")
    await first.fails("screendump", "GenericError", raw={"filename": 7})
    await first.fails("screendump", "GenericError", raw={"filename": path, "frobnicate": True})
    # Three keys that make Linux reboot.
    keys = [{"type": "qcode", "data": k} for k in ("ctrl", "alt", "delete")]
    await first.run("send-key", keys=keys)
    reset = await second.event("RESET")
    assert reset["guest"] and reset["reason"] == "guest-reset", reset
    return f"{len(names)} commands"


async def end(first, second, ready):
    # The machine ends and its connections with it; one of the two may be cut off before it can read.
    await first.run("system_powerdown")
    await first.event("POWERDOWN")
    with open(ready, "w"):
        pass
    data = await first.event("SHUTDOWN")
    assert data["guest"] and data["reason"] == "guest-shutdown", data
    return "the guest powered off"


async def main():
    phase, sockets, rest = sys.argv[1], sys.argv[2:4], sys.argv[4:]
    drivers = [Driver("first"), Driver("second")]
    for driver, socket in zip(drivers, sockets):
        await driver.connect(socket)
    print(await {"start": start, "drive": drive, "end": end}[phase](*drivers, *rest), flush=True)
    for driver in drivers:
        try:
            await driver.qmp.disconnect()
        except Exception:  # gone already is as good
            pass


asyncio.run(main())
