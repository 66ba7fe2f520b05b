% One value of a choice is used by several rules, which makes their heads dependent.
%% answer: umbrella  0.24
%% answer: picnic  0.56
%% answer: mud_or_umbrella  0.3
%% answer: clean  0.56

0.3::weather(wet); 0.7::weather(dry).
0.8::outdoors.

mud :- weather(wet).
umbrella :- weather(wet), outdoors.
picnic :- weather(dry), outdoors.
mud_or_umbrella :- mud.
mud_or_umbrella :- umbrella.
clean :- picnic, \+ mud.

query(umbrella).
query(picnic).
query(mud_or_umbrella).
query(clean).
