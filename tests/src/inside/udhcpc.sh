#!/bin/sh
# udhcpc calls this at each change of a guest's lease. LEASE is the guest's folder.
set -e
case "$1" in
deconfig)
	rm -f "$LEASE/lease"
	: >"$LEASE/resolv.conf"
	ip -4 addr flush dev "$interface"
	ip link set dev "$interface" up
	echo 0 >"/proc/sys/net/ipv6/conf/$interface/disable_ipv6" 2>/dev/null || true
	;;
bound | renew)
	ip -4 addr replace "$ip/$mask" broadcast + dev "$interface"
	for gateway in $router; do
		ip -4 route replace default via "$gateway" dev "$interface"
	done
	for server in $dns; do
		echo "nameserver $server"
	done >"$LEASE/resolv.conf"
	cat >"$LEASE/lease.new" <<END
address=$ip
bits=$mask
router=$router
dns=$dns
seconds=$lease
server=$serverid
captive_portal=$opt114
END
	mv "$LEASE/lease.new" "$LEASE/lease"
	;;
esac
