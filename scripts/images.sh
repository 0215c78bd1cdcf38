# images.sh, for the scripts that break things: images of each kind (raw, vdi, layer, vhd, qcow2, vmdk) with the content of
# $work/base.raw, and the way back. To be sourced by bash after common.sh.

suffix() { case $1 in layer) echo vdi ;; *) echo "$1" ;; esac; }
# A layer's content is in its parent, $work/parent.vdi.
make_image() { # KIND PATH
    case $1 in
    raw) cp --sparse=always "$work/base.raw" "$2" ;;
    vhd) qemu-img convert -f raw -O vpc -o force_size=on "$work/base.raw" "$2" ;;
    layer)
        qemu-img convert -f raw -O vdi "$work/base.raw" "$work/parent.vdi"
        "$anyvisor" disk create "$2" --format vdi --parent "$work/parent.vdi" 2>/dev/null
        ;;
    *) qemu-img convert -f raw -O "$1" "$work/base.raw" "$2" ;;
    esac
}
# A VHD by QEMU's own name and with its right size; a layer by our own reader, since no other tool here knows chains.
flatten() { # KIND PATH RAW
    case $1 in
    vhd) qemu-img convert -O raw --image-opts "driver=vpc,force_size_calc=current_size,file.filename=$2" "$3" ;;
    layer) rm -f "$3"; "$anyvisor" disk export "$2" "$3" --format vdi --parent-folder "$work" 2>/dev/null ;;
    *) qemu-img convert -f "$1" -O raw "$2" "$3" ;;
    esac
}
