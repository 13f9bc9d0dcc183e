package systemd

import (
	"bufio"
	"bytes"
	"encoding/binary"
	"fmt"
	"net"
	"strings"
	"sync"

	"github.com/godbus/dbus/v5"
)

// client is one connection.
type client struct {
	conn   net.Conn
	in     *bufio.Reader
	mu     sync.Mutex // guards serial and writing
	serial uint32
}

// greet is the server's part of the authentication: anybody is let in.
func (c *client) greet() error {
	if b, err := c.in.ReadByte(); err != nil || b != 0 {
		return fmt.Errorf("no null byte: %w", err)
	}
	for {
		line, err := c.in.ReadString('\n')
		if err != nil {
			return err
		}
		answer := "ERROR"
		switch word, rest, _ := strings.Cut(strings.TrimSpace(line), " "); {
		case word == "AUTH" && rest == "":
			answer = "REJECTED EXTERNAL"
		case word == "AUTH":
			answer = "OK 0123456789abcdef0123456789abcdef"
		case word == "NEGOTIATE_UNIX_FD":
			answer = "ERROR not supported"
		case word == "BEGIN":
			return nil
		}
		if _, err := c.conn.Write([]byte(answer + "\r\n")); err != nil {
			return err
		}
	}
}

func (c *client) read() (*dbus.Message, error) { return dbus.DecodeMessage(c.in) }

// send gives the message a serial number of its own.
func (c *client) send(kind dbus.Type, headers map[dbus.HeaderField]dbus.Variant, body ...any) error {
	m := &dbus.Message{Type: kind, Headers: headers, Body: body}
	m.Headers[dbus.FieldSender] = dbus.MakeVariant("org.freedesktop.systemd1")
	if len(body) > 0 {
		m.Headers[dbus.FieldSignature] = dbus.MakeVariant(dbus.SignatureOf(body...))
	}
	c.mu.Lock()
	defer c.mu.Unlock()
	c.serial++
	var out bytes.Buffer
	if err := m.EncodeTo(&out, binary.LittleEndian); err != nil {
		return err
	}
	binary.LittleEndian.PutUint32(out.Bytes()[8:], c.serial) // the library keeps it to itself
	_, err := c.conn.Write(out.Bytes())
	return err
}

func (c *client) reply(to *dbus.Message, body ...any) error {
	return c.send(dbus.TypeMethodReply, map[dbus.HeaderField]dbus.Variant{
		dbus.FieldReplySerial: dbus.MakeVariant(to.Serial()),
	}, body...)
}

func (c *client) fail(to *dbus.Message, name string) error {
	return c.send(dbus.TypeError, map[dbus.HeaderField]dbus.Variant{
		dbus.FieldReplySerial: dbus.MakeVariant(to.Serial()),
		dbus.FieldErrorName:   dbus.MakeVariant(name),
	}, "the fake says no")
}

func (c *client) signal(member string, body ...any) error {
	return c.send(dbus.TypeSignal, map[dbus.HeaderField]dbus.Variant{
		dbus.FieldPath:      dbus.MakeVariant(dbus.ObjectPath("/org/freedesktop/systemd1")),
		dbus.FieldInterface: dbus.MakeVariant("org.freedesktop.systemd1.Manager"),
		dbus.FieldMember:    dbus.MakeVariant(member),
	}, body...)
}
