//! scratch
use twinwall_netlink::dataplane::*;
fn main() -> Result<(), Box<dyn std::error::Error>> {
    let mut d = Dataplane::open(Marks::default())?;
    println!("{:?} existing {:?}", d.queue_form(), d.existing()?);
    let n: u32 = std::env::args().nth(1).and_then(|x| x.parse().ok()).unwrap_or(5);
    let nat = vec![
        nat::Rule {
            name: "out".into(),
            ingress: vec![],
            egress: vec![nat::Pattern { name: "eth0".into(), except: vec![] }],
            addresses: nat::Addresses::V4 {
                src: vec![("10.0.0.0".parse()?, "10.0.255.255".parse()?)],
                dst: vec![],
            },
            services: vec![],
            action: nat::Action::Masquerade,
        },
        nat::Rule {
            name: "in".into(),
            ingress: vec![nat::Pattern { name: "eth*".into(), except: vec!["eth1".into()] }],
            egress: vec![],
            addresses: nat::Addresses::V4 {
                src: vec![],
                dst: vec![("203.0.113.10".parse()?, "203.0.113.10".parse()?)],
            },
            services: vec![nat::Service { protocol: Some(6), src: (0, 65535), dst: (80, 80) }],
            action: nat::Action::DestinationV4("10.20.0.10".parse()?, Some(8080)),
        },
    ];
    let s = Settings { first_queue: 0, queues: 2, open_on_failure: false, nat };
    let keys: Vec<_> = (1..=n)
        .map(|k| (k, [Decision::Accept, Decision::Drop, Decision::Reject][k as usize % 3]))
        .collect();
    let t = std::time::Instant::now();
    d.build(&s, &keys)?;
    println!("build {:?}", t.elapsed());
    let t = std::time::Instant::now();
    d.adopt(&s)?;
    println!("adopt {:?}", t.elapsed());
    println!("existing {:?}", d.existing()?.map(|v| v.len()));
    let t = std::time::Instant::now();
    d.add_keys(&[(n + 1, Decision::Accept)])?;
    println!("add {:?}", t.elapsed());
    let rm: Vec<u32> = (1..=n / 2).collect();
    let t = std::time::Instant::now();
    let c = d.switch(&Switch {
        remove: &rm,
        successors: &[(1, n + 1)],
        nat: Some(&[]),
        open_on_failure: Some(true),
    })?;
    println!("switch {:?} {}", t.elapsed(), c.len());
    d.clear_rekey()?;
    println!("{:?}", d.exceptions()?);
    d.leave(true)?;
    d.adopt(&s)?;
    d.leave(true)?;
    Ok(())
}
