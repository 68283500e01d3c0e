# Start a slot of Palomar: one script for the Pi (mmc, usb) and for QEMU (virtio). U-Boot loads it as boot.scr.
#
# `boot.env` beside it says which slot (image/bootstate.py has its format). A good slot starts without any write;
# for a slot on trial the tries are counted here. A damaged or missing boot.env means A, then B.

test -n "${devtype}" || setenv devtype mmc
test -n "${devnum}" || setenv devnum 0
test -n "${distro_bootpart}" || setenv distro_bootpart 1

setenv boot_fat "${devtype} ${devnum}:${distro_bootpart}"
setenv palomar_first A
setenv palomar_trial none
setenv palomar_left 0
setenv palomar_gave_up none

# The kernel is packed; it is unpacked at kernel_comp_addr_r and moved to where it was loaded.
# The packaged addresses leave too little room on the Pi: its kernel would run into what is loaded behind it.
if test "${board}" = rpi || test "${vendor}" = raspberrypi; then
    setenv kernel_addr_r 0x04000000
    # Not 128 MiB: there QEMU puts the device tree.
    setenv ramdisk_addr_r 0x0c000000
    setenv kernel_comp_addr_r 0x10000000
    # What is on the USB is the kernel's; QEMU's model hangs when U-Boot leaves it running.
    test "${devtype}" = usb || usb stop
    setenv consoles "console=tty0 console=ttyS1,115200 8250.nr_uarts=1"
else
    setenv kernel_comp_addr_r 0x48000000
    setenv consoles "console=ttyAMA0,115200"
fi
setenv state_addr ${ramdisk_addr_r}

if load ${boot_fat} ${state_addr} boot.env; then
    env import -c ${state_addr} 0x200 palomar_first palomar_trial palomar_left palomar_gave_up || echo "Palomar: boot.env is damaged; slot A, then B"
else
    echo "Palomar: no boot.env; slot A, then B"
fi

setenv state "palomar_first=${palomar_first}"
if test "${palomar_first}" = B; then setenv slots "B A"; else setenv slots "A B"; fi
if test "${palomar_trial}" != none && test "${palomar_left}" != 0; then
    # A trial: count it before it starts, so that a hang or a power cut counts too.
    setexpr palomar_left ${palomar_left} - 1
    mw.b ${state_addr} 0 0x200
    if env export -c -s 0x200 ${state_addr} palomar_first palomar_trial palomar_left palomar_gave_up && fatwrite ${boot_fat} ${state_addr} boot.env 0x200; then
        echo "Palomar: slot ${palomar_trial} is on trial, ${palomar_left} more to come"
        setenv slots "${palomar_trial} ${palomar_first}"
    else
        # A trial that cannot be counted could be tried for ever.
        echo "Palomar: boot.env cannot be written; the trial of slot ${palomar_trial} is left out"
    fi
fi

for slot in ${slots}; do
    if test "${slot}" = B; then setenv partition 3; else setenv partition 2; fi
    setenv slot_fat "${devtype} ${devnum}:${partition}"
    if load ${slot_fat} ${kernel_addr_r} vmlinuz && setenv kernel_comp_size ${filesize} && load ${slot_fat} ${ramdisk_addr_r} initramfs; then
        setenv ramdisk_size ${filesize}
        part uuid ${slot_fat} slot_uuid
        setenv bootargs "${consoles} palomar.slot=${slot} palomar.part=${slot_uuid} palomar.trial=${palomar_trial} palomar.gave_up=${palomar_gave_up} panic=10 loglevel=4 ${palomar_extra}"
        echo "Palomar: starting slot ${slot}"
        booti ${kernel_addr_r} ${ramdisk_addr_r}:${ramdisk_size} ${fdt_addr}
    fi
    echo "Palomar: slot ${slot} cannot be started"
done
echo ""
echo "Palomar cannot start: neither slot holds a kernel that can be read."
echo "Write the image to the card again, or put in another card. Mail on the data partition is untouched so far."
echo "Trying again in 60 seconds."
sleep 60
reset
