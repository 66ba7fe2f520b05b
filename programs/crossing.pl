% May the car go on? One image shows a light, another a road sign; only what the car did is observed.
% Two networks: the colour of a light, and whether a sign is a (triangular) warning sign.

nn(light_net, [L], Colour, [red, amber, green]) :: light(L, Colour).
nn(sign_net, [S]) :: warning(S).

action(L, _, stop) :- light(L, red).
action(L, S, slow) :- light(L, amber), \+ warning(S).
action(L, S, stop) :- light(L, amber), warning(S).
action(L, S, slow) :- light(L, green), warning(S).
action(L, S, go) :- light(L, green), \+ warning(S).
