//! What Docker's CLI 28.2 sends for a command line, or says against it.

/// A command line and the difference it makes, as JSON.
pub(super) const BODIES: &[(&str, &str)] = &[
    (r#"busybox true"#, r#"{"Cmd": ["true"]}"#),
    (r#"busybox sh -c "echo hi""#, r#"{"Cmd": ["sh", "-c", "echo hi"]}"#),
    (r#"-i busybox"#, r#"{"AttachStdin": true, "OpenStdin": true, "StdinOnce": true}"#),
    (r#"-t busybox"#, r#"{"Tty": true}"#),
    (
        r#"-it busybox sh"#,
        r#"{"AttachStdin": true, "Cmd": ["sh"], "OpenStdin": true, "StdinOnce": true, "Tty": true}"#,
    ),
    (r#"--rm busybox"#, r#"{"HostConfig.AutoRemove": true}"#),
    (r#"-a stdin -a stdout busybox"#, r#"{"AttachStderr": false, "AttachStdin": true}"#),
    (
        r#"-i -a stdin busybox"#,
        r#"{"AttachStderr": false, "AttachStdin": true, "AttachStdout": false, "OpenStdin": true, "StdinOnce": true}"#,
    ),
    (r#"-v /a:/b busybox"#, r#"{"HostConfig.Binds": ["/a:/b"]}"#),
    (
        r#"--mount type=bind,source=/a,target=/b,readonly busybox"#,
        r#"{"HostConfig.Mounts": [{"ReadOnly": true, "Source": "/a", "Target": "/b", "Type": "bind"}]}"#,
    ),
    (
        r#"--mount type=bind,src=/a,dst=/b,bind-propagation=rslave busybox"#,
        r#"{"HostConfig.Mounts": [{"BindOptions": {"Propagation": "rslave"}, "Source": "/a", "Target": "/b", "Type": "bind"}]}"#,
    ),
    (
        r#"--mount type=bind,src=/a,dst=/b,ro=true,bind-recursive=readonly,bind-propagation=rprivate busybox"#,
        r#"{"HostConfig.Mounts": [{"BindOptions": {"Propagation": "rprivate", "ReadOnlyForceRecursive": true}, "ReadOnly": true, "Source": "/a", "Target": "/b", "Type": "bind"}]}"#,
    ),
    (
        r#"--mount source=v,target=/b,volume-nocopy=true,volume-label=x=y,volume-driver=local,volume-opt=type=tmpfs busybox"#,
        r#"{"HostConfig.Mounts": [{"Source": "v", "Target": "/b", "Type": "volume", "VolumeOptions": {"DriverConfig": {"Name": "local", "Options": {"type": "tmpfs"}}, "Labels": {"x": "y"}, "NoCopy": true}}]}"#,
    ),
    (
        r#"--mount type=volume,target=/b busybox"#,
        r#"{"HostConfig.Mounts": [{"Target": "/b", "Type": "volume"}]}"#,
    ),
    (
        r#"--mount type=tmpfs,dst=/t,tmpfs-size=10m,tmpfs-mode=1770 busybox"#,
        r#"{"HostConfig.Mounts": [{"Target": "/t", "TmpfsOptions": {"Mode": 1016, "SizeBytes": 10485760}, "Type": "tmpfs"}]}"#,
    ),
    (
        r#"--mount type=tmpfs,dst=/t busybox"#,
        r#"{"HostConfig.Mounts": [{"Target": "/t", "Type": "tmpfs"}]}"#,
    ),
    (
        r#"--mount type=image,source=alpine,target=/i,image-subpath=s busybox"#,
        r#"{"HostConfig.Mounts": [{"ImageOptions": {"Subpath": "s"}, "Source": "alpine", "Target": "/i", "Type": "image"}]}"#,
    ),
    (
        r#"-p 8080:80 busybox"#,
        r#"{"ExposedPorts": {"80/tcp": {}}, "HostConfig.PortBindings": {"80/tcp": [{"HostIp": "", "HostPort": "8080"}]}}"#,
    ),
    (
        r#"-p 80 busybox"#,
        r#"{"ExposedPorts": {"80/tcp": {}}, "HostConfig.PortBindings": {"80/tcp": [{"HostIp": "", "HostPort": ""}]}}"#,
    ),
    (
        r#"-p 127.0.0.1:8080:80/udp -p 8080:80 busybox"#,
        r#"{"ExposedPorts": {"80/tcp": {}, "80/udp": {}}, "HostConfig.PortBindings": {"80/tcp": [{"HostIp": "", "HostPort": "8080"}], "80/udp": [{"HostIp": "127.0.0.1", "HostPort": "8080"}]}}"#,
    ),
    (
        r#"-p 127.0.0.1::80 busybox"#,
        r#"{"ExposedPorts": {"80/tcp": {}}, "HostConfig.PortBindings": {"80/tcp": [{"HostIp": "127.0.0.1", "HostPort": ""}]}}"#,
    ),
    (
        r#"-p [::1]:8080:80 busybox"#,
        r#"{"ExposedPorts": {"80/tcp": {}}, "HostConfig.PortBindings": {"80/tcp": [{"HostIp": "::1", "HostPort": "8080"}]}}"#,
    ),
    (
        r#"-p 8000-8002:80-82 busybox"#,
        r#"{"ExposedPorts": {"80/tcp": {}, "81/tcp": {}, "82/tcp": {}}, "HostConfig.PortBindings": {"80/tcp": [{"HostIp": "", "HostPort": "8000"}], "81/tcp": [{"HostIp": "", "HostPort": "8001"}], "82/tcp": [{"HostIp": "", "HostPort": "8002"}]}}"#,
    ),
    (
        r#"-p 8000-8010:80 busybox"#,
        r#"{"ExposedPorts": {"80/tcp": {}}, "HostConfig.PortBindings": {"80/tcp": [{"HostIp": "", "HostPort": "8000-8010"}]}}"#,
    ),
    (
        r#"-p80:80 busybox"#,
        r#"{"ExposedPorts": {"80/tcp": {}}, "HostConfig.PortBindings": {"80/tcp": [{"HostIp": "", "HostPort": "80"}]}}"#,
    ),
    (
        r#"-p 80:80/sctp --expose 90 --expose 100-102/udp busybox"#,
        r#"{"ExposedPorts": {"100/udp": {}, "101/udp": {}, "102/udp": {}, "80/sctp": {}, "90/tcp": {}}, "HostConfig.PortBindings": {"80/sctp": [{"HostIp": "", "HostPort": "80"}]}}"#,
    ),
    (r#"-P busybox"#, r#"{"HostConfig.PublishAllPorts": true}"#),
    (
        r#"--expose 80 -p 80:80 busybox"#,
        r#"{"ExposedPorts": {"80/tcp": {}}, "HostConfig.PortBindings": {"80/tcp": [{"HostIp": "", "HostPort": "80"}]}}"#,
    ),
    (
        r#"--network host busybox"#,
        r#"{"HostConfig.NetworkMode": "host", "NetworkingConfig.EndpointsConfig": {}}"#,
    ),
    (
        r#"--network none busybox"#,
        r#"{"HostConfig.NetworkMode": "none", "NetworkingConfig.EndpointsConfig": {}}"#,
    ),
    (
        r#"--network container:abc busybox"#,
        r#"{"HostConfig.NetworkMode": "container:abc", "NetworkingConfig.EndpointsConfig": {}}"#,
    ),
    (
        r#"--network mynet --network-alias a --network-alias b --ip 10.0.0.2 --ip6 fd00::2 busybox"#,
        r#"{"HostConfig.NetworkMode": "mynet", "NetworkingConfig.EndpointsConfig": {"mynet": {"Aliases": ["a", "b"], "IPAMConfig": {"IPv4Address": "10.0.0.2", "IPv6Address": "fd00::2"}}}}"#,
    ),
    (
        r#"--network name=mynet,alias=a,ip=10.0.0.2,driver-opt=k=v --network other busybox"#,
        r#"{"HostConfig.NetworkMode": "mynet", "NetworkingConfig.EndpointsConfig": {"mynet": {"Aliases": ["a"], "DriverOpts": {"k": "v"}, "IPAMConfig": {"IPv4Address": "10.0.0.2"}}, "other": {}}}"#,
    ),
    (
        r#"--net mynet --net-alias z busybox"#,
        r#"{"HostConfig.NetworkMode": "mynet", "NetworkingConfig.EndpointsConfig": {"mynet": {"Aliases": ["z"]}}}"#,
    ),
    (
        r#"--network mynet --link a:b --mac-address 02:42:ac:11:00:02 busybox"#,
        r#"{"HostConfig.Links": ["a:b"], "HostConfig.NetworkMode": "mynet", "NetworkingConfig.EndpointsConfig": {"mynet": {"Links": ["a:b"], "MacAddress": "02:42:ac:11:00:02"}}}"#,
    ),
    (r#"--link a --link b:c busybox"#, r#"{"HostConfig.Links": ["a", "b:c"]}"#),
    (
        r#"--mac-address 02:42:ac:11:00:02 busybox"#,
        r#"{"NetworkingConfig.EndpointsConfig": {"default": {"MacAddress": "02:42:ac:11:00:02"}}}"#,
    ),
    (
        r#"--link-local-ip 169.254.1.1 --network mynet busybox"#,
        r#"{"HostConfig.NetworkMode": "mynet", "NetworkingConfig.EndpointsConfig": {"mynet": {"IPAMConfig": {"LinkLocalIPs": ["169.254.1.1"]}}}}"#,
    ),
    (
        r#"-w /tmp -u 1000:1000 --entrypoint /bin/sh busybox -c true"#,
        r#"{"Cmd": ["-c", "true"], "Entrypoint": ["/bin/sh"], "User": "1000:1000", "WorkingDir": "/tmp"}"#,
    ),
    (r#"--entrypoint "" busybox"#, r#"{"Entrypoint": [""]}"#),
    (r#"--hostname h --domainname d busybox"#, r#"{"Domainname": "d", "Hostname": "h"}"#),
    (r#"-h a.b.c busybox"#, r#"{"Hostname": "a.b.c"}"#),
    (
        r#"--restart always busybox"#,
        r#"{"HostConfig.RestartPolicy": {"MaximumRetryCount": 0, "Name": "always"}}"#,
    ),
    (
        r#"--restart on-failure:3 busybox"#,
        r#"{"HostConfig.RestartPolicy": {"MaximumRetryCount": 3, "Name": "on-failure"}}"#,
    ),
    (
        r#"--restart unless-stopped busybox"#,
        r#"{"HostConfig.RestartPolicy": {"MaximumRetryCount": 0, "Name": "unless-stopped"}}"#,
    ),
    (
        r#"-m 512m --memory-swap 1g --memory-reservation 100m --cpus 1.5 --pids-limit 100 busybox"#,
        r#"{"HostConfig.Memory": 536870912, "HostConfig.MemoryReservation": 104857600, "HostConfig.MemorySwap": 1073741824, "HostConfig.NanoCpus": 1500000000, "HostConfig.PidsLimit": 100}"#,
    ),
    (
        r#"-m 10M --memory-swap -1 --memory-swappiness 10 busybox"#,
        r#"{"HostConfig.Memory": 10485760, "HostConfig.MemorySwap": -1, "HostConfig.MemorySwappiness": 10}"#,
    ),
    (
        r#"--cpu-shares 512 --cpuset-cpus 0-1 --cpuset-mems 0 --cpu-period 100000 --cpu-quota 50000 busybox"#,
        r#"{"HostConfig.CpuPeriod": 100000, "HostConfig.CpuQuota": 50000, "HostConfig.CpuShares": 512, "HostConfig.CpusetCpus": "0-1", "HostConfig.CpusetMems": "0"}"#,
    ),
    (
        r#"--cpu-rt-period 1 --cpu-rt-runtime 2 --kernel-memory 5m busybox"#,
        r#"{"HostConfig.CpuRealtimePeriod": 1, "HostConfig.CpuRealtimeRuntime": 2}"#,
    ),
    (r#"--pids-limit -1 busybox"#, r#"{"HostConfig.PidsLimit": -1}"#),
    (r#"--pids-limit 0 busybox"#, r#"{}"#),
    (
        r#"--cap-add NET_ADMIN --cap-add=sys_time --cap-drop ALL --privileged busybox"#,
        r#"{"HostConfig.CapAdd": ["CAP_NET_ADMIN", "CAP_SYS_TIME"], "HostConfig.CapDrop": ["ALL"], "HostConfig.Privileged": true}"#,
    ),
    (
        r#"--cap-add all --cap-add cap_chown --cap-drop CAP_CHOWN busybox"#,
        r#"{"HostConfig.CapAdd": ["ALL", "CAP_CHOWN"], "HostConfig.CapDrop": ["CAP_CHOWN"]}"#,
    ),
    (
        r#"--security-opt systempaths=unconfined busybox"#,
        r#"{"HostConfig.MaskedPaths": [], "HostConfig.ReadonlyPaths": [], "HostConfig.SecurityOpt": []}"#,
    ),
    (
        r#"--security-opt no-new-privileges:true --security-opt apparmor:foo busybox"#,
        r#"{"HostConfig.SecurityOpt": ["no-new-privileges:true", "apparmor:foo"]}"#,
    ),
    (
        r#"--read-only --tmpfs /run --tmpfs /tmp:rw,size=10m --shm-size 128m busybox"#,
        r#"{"HostConfig.ReadonlyRootfs": true, "HostConfig.ShmSize": 134217728, "HostConfig.Tmpfs": {"/run": "", "/tmp": "rw,size=10m"}}"#,
    ),
    (
        r#"--ulimit nofile=1024:2048 --ulimit nproc=10 --ulimit core=-1 busybox"#,
        r#"{"HostConfig.Ulimits": [{"Hard": -1, "Name": "core", "Soft": -1}, {"Hard": 2048, "Name": "nofile", "Soft": 1024}, {"Hard": 10, "Name": "nproc", "Soft": 10}]}"#,
    ),
    (
        r#"--device /dev/null --device /dev/zero:/dev/z:rw --device /dev/full:r busybox"#,
        r#"{"HostConfig.Devices": [{"CgroupPermissions": "rwm", "PathInContainer": "/dev/null", "PathOnHost": "/dev/null"}, {"CgroupPermissions": "rw", "PathInContainer": "/dev/z", "PathOnHost": "/dev/zero"}, {"CgroupPermissions": "r", "PathInContainer": "/dev/full", "PathOnHost": "/dev/full"}]}"#,
    ),
    (
        r#"--device /dev/null:/dev/xx busybox"#,
        r#"{"HostConfig.Devices": [{"CgroupPermissions": "rwm", "PathInContainer": "/dev/xx", "PathOnHost": "/dev/null"}]}"#,
    ),
    (
        r#"--device-cgroup-rule "c 1:3 rwm" busybox"#,
        r#"{"HostConfig.DeviceCgroupRules": ["c 1:3 rwm"]}"#,
    ),
    (
        r#"--device-read-bps /dev/sda:1mb --device-write-bps /dev/sda:10 --device-read-iops /dev/sda:5 --device-write-iops /dev/sda:6 busybox"#,
        r#"{"HostConfig.BlkioDeviceReadBps": [{"Path": "/dev/sda", "Rate": 1048576}], "HostConfig.BlkioDeviceReadIOps": [{"Path": "/dev/sda", "Rate": 5}], "HostConfig.BlkioDeviceWriteBps": [{"Path": "/dev/sda", "Rate": 10}], "HostConfig.BlkioDeviceWriteIOps": [{"Path": "/dev/sda", "Rate": 6}]}"#,
    ),
    (
        r#"--blkio-weight 100 --blkio-weight-device /dev/sda:200 busybox"#,
        r#"{"HostConfig.BlkioWeight": 100, "HostConfig.BlkioWeightDevice": [{"Path": "/dev/sda", "Weight": 200}]}"#,
    ),
    (
        r#"--init --ipc host --pid host --uts host --cgroupns host --userns host busybox"#,
        r#"{"HostConfig.CgroupnsMode": "host", "HostConfig.Init": true, "HostConfig.IpcMode": "host", "HostConfig.PidMode": "host", "HostConfig.UTSMode": "host", "HostConfig.UsernsMode": "host"}"#,
    ),
    (
        r#"--ipc container:x --pid container:y busybox"#,
        r#"{"HostConfig.IpcMode": "container:x", "HostConfig.PidMode": "container:y"}"#,
    ),
    (
        r#"--add-host a:1.2.3.4 --add-host b=host-gateway --add-host c:[::1] --add-host d=::1 busybox"#,
        r#"{"HostConfig.ExtraHosts": ["a:1.2.3.4", "b:host-gateway", "c:::1", "d:::1"]}"#,
    ),
    (
        r#"--dns 1.1.1.1 --dns-search x --dns-option ndots:2 busybox"#,
        r#"{"HostConfig.Dns": ["1.1.1.1"], "HostConfig.DnsOptions": ["ndots:2"], "HostConfig.DnsSearch": ["x"]}"#,
    ),
    (r#"--dns-opt use-vc busybox"#, r#"{"HostConfig.DnsOptions": ["use-vc"]}"#),
    (
        r#"--log-driver json-file --log-opt max-size=10m --log-opt max-file=3 busybox"#,
        r#"{"HostConfig.LogConfig": {"Config": {"max-file": "3", "max-size": "10m"}, "Type": "json-file"}}"#,
    ),
    (
        r#"--stop-signal SIGINT --stop-timeout 5 busybox"#,
        r#"{"StopSignal": "SIGINT", "StopTimeout": 5}"#,
    ),
    (
        r#"--volumes-from a --volumes-from b:ro busybox"#,
        r#"{"HostConfig.VolumesFrom": ["a", "b:ro"]}"#,
    ),
    (
        r#"--volume-driver foo -v vol:/c busybox"#,
        r#"{"HostConfig.Binds": ["vol:/c"], "HostConfig.VolumeDriver": "foo"}"#,
    ),
    (r#"--group-add wheel --group-add 10 busybox"#, r#"{"HostConfig.GroupAdd": ["wheel", "10"]}"#),
    (
        r#"--oom-kill-disable --oom-score-adj 500 busybox"#,
        r#"{"HostConfig.OomKillDisable": true, "HostConfig.OomScoreAdj": 500}"#,
    ),
    (
        r#"--runtime runc --isolation default busybox"#,
        r#"{"HostConfig.Isolation": "default", "HostConfig.Runtime": "runc"}"#,
    ),
    (
        r#"--health-cmd "curl x" --health-interval 5s --health-timeout 1m --health-retries 3 --health-start-period 10s --health-start-interval 500ms busybox"#,
        r#"{"Healthcheck": {"Interval": 5000000000, "Retries": 3, "StartInterval": 500000000, "StartPeriod": 10000000000, "Test": ["CMD-SHELL", "curl x"], "Timeout": 60000000000}}"#,
    ),
    (r#"--no-healthcheck busybox"#, r#"{"Healthcheck": {"Test": ["NONE"]}}"#),
    (
        r#"--annotation a=b --annotation c=d busybox"#,
        r#"{"HostConfig.Annotations": {"a": "b", "c": "d"}}"#,
    ),
    (r#"--cgroup-parent /foo busybox"#, r#"{"HostConfig.CgroupParent": "/foo"}"#),
    (
        r#"--gpus all busybox"#,
        r#"{"HostConfig.DeviceRequests": [{"Capabilities": [["gpu"]], "Count": -1, "DeviceIDs": null, "Driver": "", "Options": {}}]}"#,
    ),
    (
        r#"--gpus 2 busybox"#,
        r#"{"HostConfig.DeviceRequests": [{"Capabilities": [["gpu"]], "Count": 2, "DeviceIDs": null, "Driver": "", "Options": {}}]}"#,
    ),
    (
        r#"--gpus device=0 busybox"#,
        r#"{"HostConfig.DeviceRequests": [{"Capabilities": [["gpu"]], "Count": 0, "DeviceIDs": ["0"], "Driver": "", "Options": {}}]}"#,
    ),
    (
        r#"--gpus "\"device=0,1\",capabilities=compute" busybox"#,
        r#"{"HostConfig.DeviceRequests": [{"Capabilities": [["compute", "gpu"]], "Count": 0, "DeviceIDs": ["0", "1"], "Driver": "", "Options": {}}]}"#,
    ),
    (r#"--storage-opt size=10G busybox"#, r#"{"HostConfig.StorageOpt": {"size": "10G"}}"#),
    (r#"--platform linux/amd64 busybox"#, r#"{}"#),
    (r#"--name foo busybox"#, r#"{}"#),
    (r#"busybox -- x -it"#, r#"{"Cmd": ["--", "x", "-it"]}"#),
    (r#"-- busybox -x"#, r#"{"Cmd": ["-x"]}"#),
    (r#"--init=false --tty=true busybox"#, r#"{"HostConfig.Init": false, "Tty": true}"#),
    (r#"--cpus .5 busybox"#, r#"{"HostConfig.NanoCpus": 500000000}"#),
    (r#"--shm-size=1.5g busybox"#, r#"{"HostConfig.ShmSize": 1610612736}"#),
    (
        r#"--device nvidia.com/gpu=all busybox"#,
        r#"{"HostConfig.DeviceRequests": [{"Capabilities": null, "Count": 0, "DeviceIDs": ["nvidia.com/gpu=all"], "Driver": "cdi", "Options": null}]}"#,
    ),
    (r#"--tmpfs /a:exec --tmpfs /a:ro busybox"#, r#"{"HostConfig.Tmpfs": {"/a": "ro"}}"#),
    (r#"-e "A=b c=d" busybox"#, r#"{"Env": ["A=b c=d"]}"#),
    (
        r#"-p 80:80 -p 81:80 -p 80:80 busybox"#,
        r#"{"ExposedPorts": {"80/tcp": {}}, "HostConfig.PortBindings": {"80/tcp": [{"HostIp": "", "HostPort": "80"}, {"HostIp": "", "HostPort": "81"}, {"HostIp": "", "HostPort": "80"}]}}"#,
    ),
    (r#"--memory 4.5gib busybox"#, r#"{"HostConfig.Memory": 4831838208}"#),
    (
        r#"--mount type=bind,target=/b busybox"#,
        r#"{"HostConfig.Mounts": [{"Target": "/b", "Type": "bind"}]}"#,
    ),
    (
        r#"--mount type=tmpfs,src=/x,target=/b busybox"#,
        r#"{"HostConfig.Mounts": [{"Source": "/x", "Target": "/b", "Type": "tmpfs"}]}"#,
    ),
    (
        r#"--mount type=foo,target=/b busybox"#,
        r#"{"HostConfig.Mounts": [{"Target": "/b", "Type": "foo"}]}"#,
    ),
    (
        r#"--restart on-failure:-1 busybox"#,
        r#"{"HostConfig.RestartPolicy": {"MaximumRetryCount": -1, "Name": "on-failure"}}"#,
    ),
    (
        r#"--restart always:3 busybox"#,
        r#"{"HostConfig.RestartPolicy": {"MaximumRetryCount": 3, "Name": "always"}}"#,
    ),
    (r#"--ipc container: busybox"#, r#"{"HostConfig.IpcMode": "container:"}"#),
    (r#"--security-opt systempaths=x busybox"#, r#"{"HostConfig.SecurityOpt": ["systempaths=x"]}"#),
    (
        r#"--ip 1.2.3.4 busybox"#,
        r#"{"NetworkingConfig.EndpointsConfig": {"default": {"IPAMConfig": {"IPv4Address": "1.2.3.4"}}}}"#,
    ),
    (
        r#"--network name=a,ip=x busybox"#,
        r#"{"HostConfig.NetworkMode": "a", "NetworkingConfig.EndpointsConfig": {"a": {"IPAMConfig": {"IPv4Address": "x"}}}}"#,
    ),
    (r#"--annotation foo busybox"#, r#"{"HostConfig.Annotations": {"foo": ""}}"#),
    (r#"--log-opt x busybox"#, r#"{"HostConfig.LogConfig": {"Config": {"x": ""}, "Type": ""}}"#),
    (r#"--stop-timeout 0 busybox"#, r#"{"StopTimeout": 0}"#),
    (r#"--hostname "" busybox"#, r#"{}"#),
    (r#"--workdir rel busybox"#, r#"{"WorkingDir": "rel"}"#),
    (r#"--group-add "" busybox"#, r#"{"HostConfig.GroupAdd": [""]}"#),
    (r#"-u "" busybox"#, r#"{}"#),
    (r#"--volumes-from a:foo busybox"#, r#"{"HostConfig.VolumesFrom": ["a:foo"]}"#),
    (r#"-v /a:rel busybox"#, r#"{"HostConfig.Binds": ["/a:rel"]}"#),
    (r#"-v /a:/b:xx busybox"#, r#"{"HostConfig.Binds": ["/a:/b:xx"]}"#),
    (r#"-v a busybox"#, r#"{"Volumes": {"a": {}}}"#),
    (r#"-v /a:/ busybox"#, r#"{"HostConfig.Binds": ["/a:/"]}"#),
    (r#"--tmpfs rel busybox"#, r#"{"HostConfig.Tmpfs": {"rel": ""}}"#),
];

/// A command line and why it is refused.
pub(super) const COMPLAINTS: &[(&str, &str)] = &[
    (
        r#"--env A --env =x busybox"#,
        r#"invalid argument "=x" for "-e, --env" flag: invalid environment variable: =x"#,
    ),
    (
        r#"--ulimit nofile=5:4 busybox"#,
        r#"invalid argument "nofile=5:4" for "--ulimit" flag: ulimit soft limit must be less than or equal to hard limit: 5 > 4"#,
    ),
    (
        r#"--ulimit foo=4 busybox"#,
        r#"invalid argument "foo=4" for "--ulimit" flag: invalid ulimit type: foo"#,
    ),
    (r#"-p 1.2.3.4:80 busybox"#, r#"davit: invalid hostPort: 1.2.3.4"#),
    (r#"-p a:80:80 busybox"#, r#"davit: invalid IP address: a"#),
    (r#"-p 80:8a busybox"#, r#"davit: invalid containerPort: 8a"#),
    (
        r#"-p 80-90:80-85 busybox"#,
        r#"davit: invalid ranges specified for container and host Ports: 80-85 and 80-90"#,
    ),
    (r#"-p 80/xxx busybox"#, r#"davit: invalid proto: xxx"#),
    (r#"-p "" busybox"#, r#"davit: no port specified: <empty>"#),
    (
        r#"--memory -1 busybox"#,
        r#"invalid argument "-1" for "-m, --memory" flag: invalid size: '-1'"#,
    ),
    (
        r#"--memory-swap 10x busybox"#,
        r#"invalid argument "10x" for "--memory-swap" flag: invalid suffix: 'x'"#,
    ),
    (
        r#"--cpus 0.0000000001 busybox"#,
        r#"invalid argument "0.0000000001" for "--cpus" flag: value is too precise"#,
    ),
    (
        r#"--mount target=/b,foo=bar busybox"#,
        r#"invalid argument "target=/b,foo=bar" for "--mount" flag: unexpected key 'foo' in 'foo=bar'"#,
    ),
    (
        r#"--mount target=/b,readonly=x busybox"#,
        r#"invalid argument "target=/b,readonly=x" for "--mount" flag: invalid value for readonly: x"#,
    ),
    (
        r#"--mount type=volume,target=/b,bind-propagation=rslave busybox"#,
        r#"invalid argument "type=volume,target=/b,bind-propagation=rslave" for "--mount" flag: cannot mix 'bind-*' options with mount type 'volume'"#,
    ),
    (
        r#"--mount type=bind,target=/b,source=/a,tmpfs-size=4 busybox"#,
        r#"invalid argument "type=bind,target=/b,source=/a,tmpfs-size=4" for "--mount" flag: cannot mix 'tmpfs-*' options with mount type 'bind'"#,
    ),
    (
        r#"--no-healthcheck --health-cmd x busybox"#,
        r#"davit: --no-healthcheck conflicts with --health-* options"#,
    ),
    (r#"--health-retries -1 busybox"#, r#"davit: --health-retries cannot be negative"#),
    (r#"--health-interval -1s busybox"#, r#"davit: --health-interval cannot be negative"#),
    (
        r#"--restart on-failure:x busybox"#,
        r#"davit: invalid restart policy format: maximum retry count must be an integer"#,
    ),
    (
        r#"--restart : busybox"#,
        r#"davit: invalid restart policy format: no policy provided before colon"#,
    ),
    (r#"--pid container: busybox"#, r#"davit: --pid: invalid PID mode"#),
    (r#"--pid foo busybox"#, r#"davit: --pid: invalid PID mode"#),
    (r#"--uts foo busybox"#, r#"davit: --uts: invalid UTS mode"#),
    (r#"--userns foo busybox"#, r#"davit: --userns: invalid USER mode"#),
    (r#"--cgroupns foo busybox"#, r#"davit: --cgroupns: invalid CGROUP mode"#),
    (r#"--security-opt foo busybox"#, r#"davit: Invalid --security-opt: "foo""#),
    (
        r#"--dns foo busybox"#,
        r#"invalid argument "foo" for "--dns" flag: IP address is not correctly formatted: foo"#,
    ),
    (
        r#"--dns-search "" busybox"#,
        r#"invalid argument "" for "--dns-search" flag:  is not a valid domain"#,
    ),
    (
        r#"--dns-search "a b" busybox"#,
        r#"invalid argument "a b" for "--dns-search" flag: a b is not a valid domain"#,
    ),
    (r#"--network a --network a busybox"#, r#"davit: network "a" is specified multiple times"#),
    (
        r#"--network host --network b busybox"#,
        r#"davit: conflicting options: cannot attach both user-defined and non-user-defined network-modes"#,
    ),
    (
        r#"--network alias=x busybox"#,
        r#"invalid argument "alias=x" for "--network" flag: network name/id is not specified"#,
    ),
    (
        r#"--network name=a,foo=x busybox"#,
        r#"invalid argument "name=a,foo=x" for "--network" flag: invalid field key foo"#,
    ),
    (
        r#"--sysctl foo busybox"#,
        r#"invalid argument "foo" for "--sysctl" flag: sysctl 'foo' is not allowed"#,
    ),
    (
        r#"--memory-swappiness 101 busybox"#,
        r#"davit: invalid value: 101. Valid memory swappiness range is 0-100"#,
    ),
    (
        r#"--blkio-weight-device foo busybox"#,
        r#"invalid argument "foo" for "--blkio-weight-device" flag: bad format: foo"#,
    ),
    (
        r#"--blkio-weight-device /dev/sda:5 busybox"#,
        r#"invalid argument "/dev/sda:5" for "--blkio-weight-device" flag: invalid weight for device: /dev/sda:5"#,
    ),
    (
        r#"--device-read-bps foo:1 busybox"#,
        r#"invalid argument "foo:1" for "--device-read-bps" flag: bad format for device path: foo:1"#,
    ),
    (
        r#"--device-read-bps /dev/foo:x busybox"#,
        r#"invalid argument "/dev/foo:x" for "--device-read-bps" flag: invalid rate for device: /dev/foo:x. The correct format is <device-path>:<number>[<unit>]. Number must be a positive integer. Unit is optional and can be kb, mb, or gb"#,
    ),
    (
        r#"--device-read-iops /dev/foo:x busybox"#,
        r#"invalid argument "/dev/foo:x" for "--device-read-iops" flag: invalid rate for device: /dev/foo:x. The correct format is <device-path>:<number>. Number must be a positive integer"#,
    ),
    (r#"--device /dev/a:/dev/b:q busybox"#, r#"davit: bad mode specified: q"#),
    (r#"--device "" busybox"#, r#"davit: bad format for path: "#),
    (
        r#"--device-cgroup-rule foo busybox"#,
        r#"invalid argument "foo" for "--device-cgroup-rule" flag: invalid device cgroup format 'foo'"#,
    ),
    (
        r#"--link :: busybox"#,
        r#"invalid argument "::" for "--link" flag: bad format for links: ::"#,
    ),
    (
        r#"--add-host a:foo busybox"#,
        r#"invalid argument "a:foo" for "--add-host" flag: invalid IP address in add-host: "foo""#,
    ),
    (
        r#"--add-host a=1.2.3 busybox"#,
        r#"invalid argument "a=1.2.3" for "--add-host" flag: invalid IP address in add-host: "1.2.3""#,
    ),
    (
        r#"--expose 80-x busybox"#,
        r#"davit: invalid range format for --expose: 80-x, error: strconv.ParseUint: parsing "x": invalid syntax"#,
    ),
    (
        r#"--expose 100-90 busybox"#,
        r#"davit: invalid range format for --expose: 100-90, error: invalid range specified for port: 100-90"#,
    ),
    (r#"--storage-opt x busybox"#, r#"davit: invalid storage option"#),
    (
        r#"--label =x busybox"#,
        r#"invalid argument "=x" for "-l, --label" flag: invalid label '=x': empty name"#,
    ),
    (
        r#"--gpus foo=1 busybox"#,
        r#"invalid argument "foo=1" for "--gpus" flag: unexpected key 'foo' in 'foo=1'"#,
    ),
    (
        r#"--link a::b busybox"#,
        r#"invalid argument "a::b" for "--link" flag: bad format for links: a::b"#,
    ),
    (r#"-v "" busybox"#, r#"davit: invalid empty volume spec"#),
    (
        r#"--log-driver none --log-opt a=b busybox"#,
        r#"davit: invalid logging opts for driver none"#,
    ),
];
