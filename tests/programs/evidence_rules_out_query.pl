% Evidence that makes some of the queries impossible.
%% answer: at(home)  1
%% answer: at(work)  0
%% answer: at(sea)  0
%% answer: phone  1

0.3::at(home); 0.3::at(work); 0.4::at(sea).
0.5::phone.

reachable :- at(home), phone.
reachable :- at(work).

query(at(_)).
query(phone).
evidence(reachable).
evidence(at(work), false).
