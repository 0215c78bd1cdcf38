import Abstractions
import Host
import Testing

@testable import VBoxManageBackend

/// What VirtualBox 7.2.22 printed, with the warning of its wrapper where the kernel module is missing.
private let warning = """
    WARNING: The character device /dev/vboxdrv does not exist.
    \t Please install the virtualbox-dkms package and the appropriate
    \t headers, most likely linux-headers-amd64.

    \t You will not be able to start VMs until this problem is fixed.

    """

private func error(_ text: String) -> BackendError {
    VBoxManageFailure(warning + text, .exited(1)).error("machine.start", "startvm")
}

@Suite("what VBoxManage says when it fails")
struct FailureTests {
    @Test("the reason is without the wrapper's warning and what is for VirtualBox's makers; number and name are kept")
    func reason() {
        let known = error(
            """
            VBoxManage: error: Could not find a registered machine with UUID {1608bd6b-fad1-42b4-9c81-ba0a64570622}
            VBoxManage: error: Details: code VBOX_E_OBJECT_NOT_FOUND (0x80bb0001), component VirtualBoxWrap, interface IVirtualBox, callee nsISupports
            VBoxManage: error: Context: "FindMachine(Bstr(pszVM).raw(), machine.asOutParam())" at line 907 of file VBoxManageMisc.cpp
            """)
        #expect(known.code == .notFound)
        #expect(
            known.message
                == "VBoxManage startvm: Could not find a registered machine with UUID {1608bd6b-fad1-42b4-9c81-ba0a64570622}"
        )
        #expect(known.native?.code == 0x80bb_0001)
        #expect(known.native?.text.hasPrefix("VBOX_E_OBJECT_NOT_FOUND: ") == true)
    }

    @Test("a lock that goes by itself may be tried again, a state that is wrong may not")
    func locks() {
        let locked = error(
            """
            VBoxManage: error: Cannot unregister the machine 'anyvisor-p-1' while it is locked
            VBoxManage: error: Details: code VBOX_E_INVALID_OBJECT_STATE (0x80bb0007), component MachineWrap, interface IMachine, callee nsISupports
            """)
        #expect(locked.code == .inUse && locked.retry == .backoff)
        let session = error(
            """
            VBoxManage: error: The machine 'anyvisor-p-1' is already locked by a session (or being locked or unlocked)
            VBoxManage: error: Details: code VBOX_E_INVALID_OBJECT_STATE (0x80bb0007), component MachineWrap, interface IMachine, callee nsISupports
            """)
        #expect(session.code == .inUse && session.retry == .backoff)
        let ending = error(
            """
            VBoxManage: error: The object is not ready
            VBoxManage: error: The session is not locked (session state: Unlocked)
            VBoxManage: error: Details: code E_ACCESSDENIED (0x80070005), component SessionMachine, interface IMachine, callee nsISupports
            """)
        #expect(ending.code == .inUse && ending.retry == .backoff)
        let between = error(
            """
            VBoxManage: error: Failed to get a console object from the direct session (VBOX_E_INVALID_OBJECT_STATE)
            VBoxManage: error: Details: code VBOX_E_VM_ERROR (0x80bb0003), component MachineWrap, interface IMachine
            """)
        #expect(between.code == .inUse && between.retry == .backoff)
        let twice = error(
            """
            VBoxManage: error: Already paused
            VBoxManage: error: Details: code VBOX_E_INVALID_VM_STATE (0x80bb0002), component ConsoleWrap, interface IConsole, callee nsISupports
            """)
        #expect(twice.code == .invalidState && twice.retry == .never)
        #expect(
            error("VBoxManage: error: Machine '1608bd6b' is not currently running.\n").code == .invalidState)
    }

    @Test("a disk with another's uuid is in use, and the remedy is named")
    func copies() {
        let known = error(
            """
            VBoxManage: error: Cannot register the hard disk '/p/copy.vdi' {9402ee1c} because a hard disk '/p/sys.vdi' with UUID {9402ee1c} already exists
            VBoxManage: error: Details: code NS_ERROR_INVALID_ARG (0x80070057), component VirtualBoxWrap, interface IVirtualBox, callee nsISupports
            VBoxManage: error: Invalid UUID or filename "/p/copy.vdi"
            """)
        #expect(known.code == .inUse && known.blame == .disk && known.retry == .never)
        #expect(known.message.contains("sethduuid") && !known.message.contains("Invalid UUID"))
    }

    @Test("files: one that is missing, one that is there already, one that is no image")
    func files() {
        #expect(
            error(
                """
                VBoxManage: error: Could not find file for the medium '/p/missing.vmdk' (VERR_FILE_NOT_FOUND)
                VBoxManage: error: Details: code VBOX_E_FILE_ERROR (0x80bb0004), component MediumWrap, interface IMedium, callee nsISupports
                """
            ).code == .notFound)
        #expect(
            error(
                """
                VBoxManage: error: Machine settings file '/p/a/a.vbox' already exists
                VBoxManage: error: Details: code VBOX_E_FILE_ERROR (0x80bb0004), component MachineWrap, interface IMachine, callee nsISupports
                """
            ).code == .alreadyExists)
        #expect(
            error(
                """
                VBoxManage: error: Could not open the medium '/p/q.vdi'.
                VBoxManage: error: VD: error VERR_EOF opening image file '/p/q.vdi' (VERR_EOF)
                VBoxManage: error: Details: code NS_ERROR_FAILURE (0x80004005), component MediumWrap, interface IMedium, callee nsISupports
                """
            ).code == .corrupt)
    }

    @Test("without the kernel module a start is unavailable, and the remedy is named")
    func driver() {
        let known = error(
            """
            VBoxManage: error: The virtual machine 'a' has terminated unexpectedly during startup with exit code 1 (0x1)
            VBoxManage: error: Kernel driver not installed (VERR_VM_DRIVER_NOT_INSTALLED)
            VBoxManage: error: Details: code NS_ERROR_FAILURE (0x80004005), component MachineWrap, interface IMachine
            """)
        #expect(known.code == .unavailable && known.message.contains("modprobe vboxdrv"))
        let service = error(
            """
            VBoxManage: error: Failed to create the VirtualBox object!
            VBoxManage: error: Code NS_ERROR_FACTORY_NOT_REGISTERED (0x80040154) - Class not registered (extended info not available)
            VBoxManage: error: Most likely, the VirtualBox COM server is not running or failed to start.
            """)
        #expect(service.code == .unavailable && service.retry == .backoff)
    }

    @Test("a failure without a word says how it ended")
    func silence() {
        #expect(error("").message == "VBoxManage startvm: it ended with exit 1 and gave no reason")
        #expect(error("").code == .internal)
    }
}
