use super::*;

fn config(line: &str) -> Result<Config, Vec<UsageError>> {
    Config::new(&Options::parse(line.split_whitespace().map(String::from))?)
}

fn error(line: &str) -> String {
    config(line).unwrap_err().into_iter().map(|e| e.0).collect::<Vec<_>>().join("\n")
}

#[test]
fn the_quick_start_line_without_usb() {
    let c = config("-accel whpx -M pc -smp cores=2 -m 2G -hda OS.qcow2").unwrap();
    assert_eq!((c.machine.as_str(), c.smp.cpus, c.memory), ("pc", 2, 2 << 30));
    assert_eq!(c.accels, [Accel { name: "whpx".into(), props: vec![] }]);
    assert_eq!(c.drives.len(), 2, "the disk and the default CD drive");
    assert_eq!(c.drives[0].file, Some("OS.qcow2".into()));
}

#[test]
fn accelerators_in_order() {
    let c = config("-M pc,accel=whpx:tcg,hpet=off").unwrap();
    assert_eq!(c.accels.iter().map(|a| a.name.as_str()).collect::<Vec<_>>(), ["whpx", "tcg"]);
    assert_eq!(c.machine_props, [("hpet".to_string(), "off".to_string())]);
    let c = config("-accel whpx,platform=soft -accel tcg").unwrap();
    assert_eq!(c.accels[0].props, [("platform".to_string(), "soft".to_string())]);
}

#[test]
fn consoles() {
    assert_eq!(config("-nographic").unwrap().serial, [SerialTarget::MonStdio]);
    assert_eq!(config("-nographic -monitor none").unwrap().serial, [SerialTarget::spec("stdio")]);
    assert!(error("-serial stdio -monitor stdio").contains("only one user"));
    let c =
        config("-serial tcp:127.0.0.1:4444,server=on,wait=off -chardev file,id=f,path=x -serial chardev:f").unwrap();
    let SerialTarget::Spec(s) = &c.serial[0] else { panic!("{:?}", c.serial) };
    assert_eq!((s.backend.as_str(), s.port.as_deref(), s.server, s.wait), ("socket", Some("4444"), true, false));
    assert_eq!(c.serial[1], SerialTarget::Chardev("f".into()));
}

#[test]
fn monitors() {
    let c =
        config("-qmp unix:/tmp/q,server=on,wait=off -qmp-pretty tcp:localhost:1,server,nowait -monitor pty").unwrap();
    let modes: Vec<_> = c.monitors.iter().map(|m| m.mode).collect();
    let control = |pretty| MonitorMode::Control { pretty };
    assert_eq!(modes, [control(false), control(true), MonitorMode::Readline]);
    for m in &c.monitors[..2] {
        let SerialTarget::Spec(s) = &m.target else { panic!("{m:?}") };
        assert!(s.server && !s.wait && s.backend == "socket", "{s:?}");
    }
    let c =
        config("-chardev stdio,id=c,mux=on -serial chardev:c -mon c -mon chardev=c,mode=control,pretty=on").unwrap();
    assert_eq!(c.monitors[1], MonitorSpec { target: SerialTarget::Chardev("c".into()), mode: control(true) });
    assert_eq!(config("-nographic -qmp null").unwrap().serial, [SerialTarget::spec("stdio")]);
    assert!(error("-mon c,mode=foo").contains("readline, control"));
    assert!(error("-mon c,pretty=on").contains("mode=control"));
}

#[test]
fn drives_find_their_places() {
    let c = config("-drive file=a -drive file=b,media=cdrom -hda c -drive file=d,if=none,id=x").unwrap();
    let places: Vec<_> = c.drives.iter().map(|d| (d.id.as_str(), d.index)).collect();
    assert_eq!(places, [("ide0-hd0", 0), ("ide0-hd1", 1), ("ide1-cd0", 2), ("x", 0)]);
    assert!(error("-hda a -drive file=b,index=0").contains("in use by -hda a"));
    assert!(error("-hdc a -cdrom b").contains("in use by"));
    assert!(error("-drive file=a,fromat=raw").contains("did you mean format?"));
    assert!(error("-drive if=virtio,file=a").contains("if=virtio"));
}

#[test]
fn sata_drives_and_flash_find_their_places() {
    let c =
        config("-M q35 -hdb a -cdrom b -drive file=c -drive if=pflash,file=d,unit=1 -drive if=pflash,file=e").unwrap();
    let places: Vec<_> = c.drives.iter().map(|d| (d.id.as_str(), d.index)).collect();
    assert_eq!(places, [("ide1-hd0", 1), ("ide2-cd0", 2), ("pflash1", 1), ("ide0-hd0", 0), ("pflash0", 0)]);
    let ids: Vec<_> = config("-nodefaults -pflash a -pflash b").unwrap().drives.into_iter().map(|d| d.id).collect();
    assert_eq!(ids, ["pflash0", "pflash1"]);
    assert!(error("-pflash a -pflash b -pflash c").contains("in use"));
    assert_eq!(config("-M q35 -drive file=a,bus=5").unwrap().drives[0].index, 5);
    assert!(error("-M q35 -drive file=a,bus=0,unit=1").contains("buses 0 to 5 with unit 0"));
    assert!(error("-drive file=a,index=4").contains("index 0 to 3"));
    assert!(error("-drive if=pflash,file=a,unit=2").contains("units 0 and 1"));
    assert!(error("-drive if=pflash,file=a,format=qcow2").contains("raw"));
    assert!(error("-drive if=pflash,unit=0").contains("needs file="));
}

#[test]
fn every_error_is_reported() {
    let e = error("-m 0 -smp cores=0 -append x -vga qxl");
    assert_eq!(e.lines().count(), 4, "{e}");
    assert!(e.contains("-m 0: RAM must be"), "{e}");
}

#[test]
fn dates_and_features() {
    assert_eq!(config("-rtc base=2000-03-01T00:00:01").unwrap().rtc.base, RtcBase::Date(951_868_801));
    let cpu = config("-cpu qemu64,+avx2,-sse3,pmu=off").unwrap().cpu;
    assert_eq!(cpu.model.as_deref(), Some("qemu64"));
    assert_eq!(cpu.features[1], ("sse3".to_string(), "off".to_string()));
    assert!(error("-boot order=cx").contains("'x'"));
    assert_eq!(config("-device isa-debug-exit,iobase=0x501,id=e").unwrap().devices[0].id.as_deref(), Some("e"));
    assert_eq!(config("-M help").unwrap().help, Some(HelpTopic::Machines));
}
