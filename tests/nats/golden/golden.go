// Makes the golden tokens of tests/nats/golden with the reference library.
package main

import (
	"encoding/json"
	"fmt"
	"os"

	"github.com/nats-io/jwt/v2"
	"github.com/nats-io/nkeys"
)

func pair(prefix nkeys.PrefixByte, fill byte) (nkeys.KeyPair, string, string) {
	raw := make([]byte, 32)
	for i := range raw {
		raw[i] = fill
	}
	p, err := nkeys.FromRawSeed(prefix, raw)
	if err != nil {
		panic(err)
	}
	pub, _ := p.PublicKey()
	seed, _ := p.Seed()
	return p, pub, string(seed)
}

func main() {
	op, opPub, opSeed := pair(nkeys.PrefixByteOperator, 1)
	osk, oskPub, oskSeed := pair(nkeys.PrefixByteOperator, 2)
	_, sysPub, _ := pair(nkeys.PrefixByteAccount, 3)
	ssk, sskPub, sskSeed := pair(nkeys.PrefixByteAccount, 4)
	_, accPub, _ := pair(nkeys.PrefixByteAccount, 5)
	ask, askPub, askSeed := pair(nkeys.PrefixByteAccount, 6)
	_, usrPub, usrSeed := pair(nkeys.PrefixByteUser, 7)
	_, usr2Pub, _ := pair(nkeys.PrefixByteUser, 8)
	seeds := map[string]string{"operator": opSeed, "operator_signing": oskSeed, "system_signing": sskSeed, "account_signing": askSeed, "user": usrSeed}

	out := map[string]any{"seeds": seeds, "public": map[string]string{"operator": opPub, "operator_signing": oskPub, "system": sysPub, "system_signing": sskPub, "account": accPub, "account_signing": askPub, "user": usrPub, "other_user": usr2Pub}}
	put := func(name, token string) {
		fmt.Println(name, token)
		out[name] = token
	}
	oc := jwt.NewOperatorClaims(opPub)
	oc.Name = "tenure"
	oc.SigningKeys.Add(oskPub)
	oc.SystemAccount = sysPub
	oc.StrictSigningKeyUsage = true
	t, err := oc.Encode(op)
	if err != nil { panic(err) }
	put("operator_jwt", t)

	sc := jwt.NewAccountClaims(sysPub)
	sc.Name = "system"
	sc.SigningKeys.Add(sskPub)
	t, err = sc.Encode(osk)
	if err != nil { panic(err) }
	put("system_account_jwt", t)

	ac := jwt.NewAccountClaims(accPub)
	ac.Name = "0190f5a2-0000-7000-8000-000000000001"
	ac.SigningKeys.Add(askPub)
	ac.Limits.JetStreamLimits = jwt.JetStreamLimits{MemoryStorage: -1, DiskStorage: -1, Streams: 500, Consumer: -1, MaxAckPending: -1, MemoryMaxStreamBytes: -1, DiskMaxStreamBytes: 8589934592, MaxBytesRequired: true}
	t, err = ac.Encode(osk)
	if err != nil { panic(err) }
	put("account_jwt", t)
	ac.Revocations = jwt.RevocationList{usrPub: 1700000000, usr2Pub: 1700000001, "*": 1690000000}
	t, err = ac.Encode(osk)
	if err != nil { panic(err) }
	put("account_with_revocations_jwt", t)

	uc := jwt.NewUserClaims(usrPub)
	uc.Name = "0190f5a2-0000-7000-8000-000000000002@0190f5a2-0000-7000-8000-000000000001"
	uc.IssuerAccount = accPub
	uc.NotBefore = 1700000000
	uc.Expires = 4000000000
	uc.Permissions.Pub.Allow.Add("a.>", "$JS.API.INFO")
	uc.Permissions.Sub.Allow.Add("a.>", "_INBOX.>")
	t, err = uc.Encode(ask)
	if err != nil { panic(err) }
	put("user_jwt", t)
	su := jwt.NewUserClaims(usrPub)
	su.Name = "tenure"
	su.IssuerAccount = sysPub
	su.Expires = 4000000000
	su.Permissions.Pub.Allow.Add("$SYS.REQ.CLAIMS.UPDATE")
	su.Permissions.Sub.Allow.Add("_INBOX.>")
	t, err = su.Encode(ssk)
	if err != nil { panic(err) }
	put("system_user_jwt", t)
	text, _ := json.MarshalIndent(out, "", "  ")
	os.WriteFile("tokens.json", append(text, '\n'), 0644)
}
